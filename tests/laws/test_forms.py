"""Every operator on weights computes the same in each form of its code, perturbed and in float64."""

import law_cases
import pytest
import torch

from deltac.prepare import prepare
from deltac.rewrite.apply import apply
from deltac.rewrite.pipeline import rewrite

CASES = [case for case in law_cases.CASES if case.operator.site == "weight"]


@pytest.mark.parametrize(
    "case", CASES, ids=lambda case: f"{case.operator.name}-{case.base}-{dict(case.options)}"
)
def test_forms_agree(case):
    values = _values(case)
    prepared = prepare(case.spec(), case.model(torch.float64))
    rewritings = {
        "inserted": rewrite(prepared.plan, "inserted"),
        "cheapest": prepared.rewriting,
        "factored": rewrite(prepared.plan, "factored"),
    }
    outputs = {
        forms: _outcome(case, prepared.plan, rewriting, values)
        for forms, rewriting in rewritings.items()
    }
    for forms in ("cheapest", "factored"):
        for found, wanted in zip(outputs[forms], outputs["inserted"], strict=True):
            # Relative to the largest entry: some operators scale by hundreds, and small entries are sums of large ones.
            bound = 1e-10 * max(1.0, wanted.abs().max().item())
            assert (found - wanted).abs().max().item() <= bound, forms


def _values(case):
    """Perturbed values of the added tensors."""
    compiled = case.compile(torch.float64)
    generator = torch.Generator().manual_seed(3)
    trained = compiled.parameters()
    return {
        name: value.detach().double()
        + 0.3 * torch.randn(value.shape, generator=generator, dtype=torch.float64)
        if name in trained
        else value.detach()
        for name, value in compiled.tensors().items()
    }


def _outcome(case, plan, rewriting, values):
    """The output, and the gradient of every trained parameter."""
    model = case.model(torch.float64)
    with apply(plan, rewriting, model, values.__getitem__):
        tokens = torch.arange(20).reshape(4, 5) % 10
        output = model(input_ids=tokens).last_hidden_state
        weights = torch.linspace(-1, 1, output.numel(), dtype=torch.float64).view_as(output)
        (output * weights).sum().backward()
        parameters = dict(model.named_parameters())
        return [
            output.detach(),
            *(parameters[n].grad for n in values if parameters[n].requires_grad),
        ]
