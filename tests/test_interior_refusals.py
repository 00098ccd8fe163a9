"""Forwards that no graph with guards at entry can hold are refused, with the line of their source."""

from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from deltac.rewrite.interior import trace_interior


class Round(torch.autograd.Function):
    """A gradient of its own."""

    @staticmethod
    def forward(ctx, x):
        return x.round()

    @staticmethod
    def backward(ctx, grad):
        return grad


class ByValue(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # by value
            return x
        return -x


class OwnGradient(nn.Module):
    def forward(self, x):
        return Round.apply(x)  # own gradient


class Counts(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return x


class WithoutGradient(nn.Module):
    def forward(self, x):
        with torch.no_grad():
            return x * 2  # without gradient


class Appends(nn.Module):
    def forward(self, x, states=None):
        states.append(x)
        return x


class ByGradient(nn.Module):
    def forward(self, x):
        return x if x.requires_grad else -x  # by gradient


@pytest.mark.parametrize(
    ("module", "line"),
    [
        (ByValue(), "# by value"),
        (OwnGradient(), "# own gradient"),
        (WithoutGradient(), "# without gradient"),
        (ByGradient(), "# by gradient"),
    ],
)
def test_refused_with_its_line(module, line):
    error = tiny.refused(lambda: trace_interior(module, [torch.ones(2, 3)]), "DLT508")
    text = str(error)
    assert f"{type(module).__name__} can't be traced" in text
    lines = Path(__file__).read_text("utf-8").splitlines()
    source = 1 + next(index for index, each in enumerate(lines) if each.endswith(line))
    assert f"test_interior_refusals.py:{source}:" in text


def test_a_changed_module_and_a_changed_argument_are_refused():
    module = Counts()
    text = str(tiny.refused(lambda: trace_interior(module, [torch.ones(2, 3)]), "DLT508"))
    assert "sets 'calls'" in text
    assert module.calls == 0
    given = [torch.ones(2, 3), []]
    text = str(tiny.refused(lambda: trace_interior(Appends(), given), "DLT508"))
    assert "changes a list" in text
    assert given[1] == []


def test_tracing_needs_no_value_and_draws_no_number():
    module = nn.Sequential(nn.Linear(4, 3), nn.Dropout()).to("meta")
    before = torch.get_rng_state()
    graph = trace_interior(module, [torch.ones(2, 4)]).graph
    assert torch.equal(torch.get_rng_state(), before)
    assert [node.target for node in graph.nodes if node.op == "call_module"] == ["0", "1"]
