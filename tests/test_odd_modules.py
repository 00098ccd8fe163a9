"""Generated code of modules that torch's own layers are not like, and of compiled models used in unusual ways.

Each expectation is that of `merged()`: the new weight, computed word for word, in the base's own forward.
"""

import copy
import itertools
import pickle

import pytest
import tiny
import torch
from torch import nn
from torch.nn import functional as F

import deltac
from deltac.testing import LawsConfig, LawsModel, models

WIDTH = models.WIDTH


class Scaled(nn.Linear):
    """Reads a private attribute that differs from module to module."""

    def __init__(self, scale):
        super().__init__(WIDTH, WIDTH)
        self._scale = scale

    def forward(self, x):
        return F.linear(x, self.weight, self.bias) * self._scale


class ByKeyword(nn.Linear):
    def forward(self, x):
        return F.linear(x, weight=self.weight, bias=self.bias)


class ReadTwice(nn.Linear):
    def forward(self, x):
        return torch.tanh(F.linear(x, self.weight)) + F.linear(x, self.weight, self.bias)


class Convolved(nn.Conv1d):
    """Along the tokens, channels last."""

    def __init__(self):
        super().__init__(WIDTH, WIDTH, 3, padding=1)

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class ConvolvedByKeyword(Convolved):
    def forward(self, x):
        x = x.transpose(1, 2)
        return F.conv1d(x, self.weight, bias=self.bias, padding=1).transpose(1, 2)


class Grouped(nn.Conv1d):
    """Of each group of channels its own outputs are made."""

    def __init__(self):
        super().__init__(WIDTH, WIDTH, 3, padding=1, groups=3)

    def forward(self, x):
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


LORA = {"operator": "lora", "rank": 2}
DROPPED = {**LORA, "dropout": 0.5}
DORA = {"operator": "dora", "rank": 2}


def _compiled(monkeypatch, make, *deltas, base=torch.float64):
    """A base in one dtype, its delta in float32 at most, then both in float64."""
    monkeypatch.setitem(models.BASES, "odd", make)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tiny.randomize(LawsModel(LawsConfig(base="odd"))).to(base).eval()
    rows = [{"name": f"d{i}", "target": {"module": "block.*"}, **d} for i, d in enumerate(deltas)]
    compiled = tiny.perturb(deltac.compile({"version": 1, "heads": [], "deltas": rows}, model))
    compiled.model.double()
    return compiled


def _output(model, length=12):
    tokens = torch.arange(2 * length).view(2, length) % models.ROWS
    with torch.no_grad():
        return model(input_ids=tokens).last_hidden_state


def _computes_what_merged_weights_do(compiled):
    found = _output(compiled.model)
    with compiled.merged():
        torch.testing.assert_close(found, _output(compiled.model), rtol=1e-10, atol=1e-12)
    with compiled.disabled():
        assert (found - _output(compiled.model)).abs().max() > 0.01


@pytest.mark.parametrize("deltas", [[LORA], [DORA]])
@pytest.mark.parametrize("make", [ByKeyword, ReadTwice])
def test_linears_of_another_form(monkeypatch, make, deltas):
    compiled = _compiled(monkeypatch, lambda: make(WIDTH, WIDTH), *deltas, base=torch.bfloat16)
    _computes_what_merged_weights_do(compiled)


def test_modules_that_differ_in_a_private_attribute_get_other_code(monkeypatch):
    numbers = itertools.count(1)
    compiled = _compiled(monkeypatch, lambda: Scaled(float(next(numbers))), LORA)
    _computes_what_merged_weights_do(compiled)


def test_modules_whose_attributes_are_equal_but_of_other_types_get_other_code(monkeypatch):
    scales = itertools.cycle([2, 2.0])
    compiled = _compiled(monkeypatch, lambda: Scaled(next(scales)), LORA)
    first, second = (type(block).delta_region for block in compiled.model.block)
    assert first is not second


@pytest.mark.parametrize("make", [Convolved, ConvolvedByKeyword, Grouped])
@pytest.mark.parametrize("deltas", [[LORA], [DORA], [DORA, DROPPED], [{"operator": "ia3"}, LORA]])
def test_convolutions_with_a_bias(monkeypatch, make, deltas):
    """A base narrower than its delta takes the factored form; as many tokens as channels hide a wrong broadcast."""
    _computes_what_merged_weights_do(_compiled(monkeypatch, make, *deltas, base=torch.bfloat16))


def test_the_inputs_of_a_grouped_convolution_are_not_scaled(monkeypatch):
    error = tiny.refused(
        lambda: _compiled(monkeypatch, Grouped, {"operator": "ia3", "side": "input"}), "DLT301"
    )
    assert "groups" in str(error)


# torch has made it a parametrization since, and models of that time still have the old one.
@pytest.mark.filterwarnings("ignore:`torch.nn.utils.weight_norm` is deprecated:FutureWarning")
def test_a_weight_that_a_hook_computes_is_no_obstacle(monkeypatch):
    def normed():
        return nn.utils.weight_norm(nn.Linear(WIDTH, WIDTH))

    error = tiny.refused(lambda: _compiled(monkeypatch, normed, LORA), "DLT302")
    assert "no weight of its own" in str(error)
    monkeypatch.setitem(models.BASES, "odd", normed)
    model = LawsModel(LawsConfig(base="odd")).eval()
    delta = {**LORA, "name": "d", "target": {"module": "/embed"}}
    compiled = tiny.perturb(deltac.compile({"version": 1, "heads": [], "deltas": [delta]}, model))
    torch.testing.assert_close(_output(compiled.merge()), _output(compiled.model))


def _pickled(model):
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("copied", [copy.deepcopy, _pickled])
def test_a_copy_made_in_an_inference_scope_is_not_in_one(copied):
    target = {"module": "block.*"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = tiny.randomize(LawsModel(LawsConfig(base="linear"))).bfloat16().eval()
    spec = {"version": 1, "heads": [], "deltas": [{"name": "d", "target": target, **DORA}]}
    compiled = tiny.perturb(deltac.compile(spec, model))
    compiled.model.double()
    with compiled.inference():
        _output(compiled.model)
        assert compiled.model.block[0].delta_kept, "nothing is kept, so this test says nothing"
        made = copied(compiled.model)
    with torch.no_grad():
        made.block[0].d_m.mul_(3)
    _computes_what_merged_weights_do(deltac.Compiled(made))


def _linear(monkeypatch):
    compiled = _compiled(monkeypatch, lambda: nn.Linear(WIDTH, WIDTH), DROPPED)
    return compiled.model.block[0].train()


def test_dropout_of_a_vector(monkeypatch):
    module = _linear(monkeypatch)
    x, gradients = torch.randn(WIDTH, dtype=torch.float64, requires_grad=True), []
    for given in (x, x[None]):
        torch.manual_seed(3)
        loss = module(given).pow(2).sum()
        gradients.append(torch.autograd.grad(loss, (x, module.d0_A, module.d0_B)))
    for found, expected in zip(*gradients, strict=True):
        assert expected.any()
        torch.testing.assert_close(found, expected)


def test_dropout_under_the_transforms_of_torch_func(monkeypatch):
    module, x = _linear(monkeypatch), torch.randn(5, WIDTH, dtype=torch.float64)
    values = dict(module.named_parameters())

    def loss(values):
        return torch.func.functional_call(module, values, (x,)).pow(2).sum()

    torch.manual_seed(3)
    found = torch.func.grad(loss)(values)
    torch.manual_seed(3)
    loss(values).backward()
    for name in ("d0_A", "d0_B"):
        torch.testing.assert_close(found[name], values[name].grad)
    assert torch.func.vmap(module, randomness="different")(x).shape == x.shape


@pytest.mark.parametrize("delta", [DROPPED, DORA])
def test_shapes_on_the_meta_device(monkeypatch, delta):
    compiled = _compiled(monkeypatch, lambda: nn.Linear(WIDTH, WIDTH), delta, base=torch.bfloat16)
    model = compiled.model.to("meta").train()
    tokens = torch.zeros(2, 3, dtype=torch.long, device="meta")
    assert model(input_ids=tokens).last_hidden_state.shape == (2, 3, WIDTH)
