"""Compares an operator with PEFT's layer of the same method: outputs and gradients in float64, on every site."""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import peft
import tiny
import torch

import deltac

#: Relative to the largest value: sums of few products in float64 in another order.
TOLERANCE = 1e-10

#: Architecture → modules that the tests act on: square and oblong ones, nn.Linear and Conv1D.
TARGETS = {
    "bert": ["self.query", "intermediate.dense", "layer.*.output.dense"],
    "gpt2": ["c_attn", "mlp.c_fc", "mlp.c_proj"],
}


def same(value: torch.Tensor) -> torch.Tensor:
    """The value as it is."""
    return value


@dataclass(frozen=True)
class Pair:
    """A parameter of ours and PEFT's tensor for it; `to` brings ours into the shape of theirs."""

    own: str
    theirs: Callable[[Any], torch.Tensor]
    to: Callable[[torch.Tensor], torch.Tensor] = same


@dataclass
class Beside:
    """One model compiled by us and another, with the same base weights, prepared by PEFT."""

    mine: deltac.Compiled
    theirs: Any
    sites: list[str] = field(default_factory=list)

    def layer(self, site: str) -> Any:
        """PEFT's layer at a site."""
        return self.theirs.base_model.model.get_submodule(site)


def beside(
    arch: str, options: Mapping[str, Any], config: Callable[..., Any], **settings: Any
) -> Beside:
    """Puts our operator on a model and PEFT's on a copy; `settings` go to the PEFT config."""
    base = tiny.base(arch, dtype=torch.float64)
    delta = {"name": "d", "target": {"module": TARGETS[arch]}, **options}
    mine = deltac.compile(tiny.spec(arch, [delta]), model=copy.deepcopy(base))
    tiny.perturb(mine).model.double()
    sites = [name.removesuffix(".weight") for name in mine.manifest["sets"]["reparameterized"]]
    assert len(sites) == 6
    made = config(target_modules=sites, **settings)
    return Beside(mine, peft.get_peft_model(base, made).double().eval(), sites)


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal up to `TOLERANCE`, and not zero."""
    assert found.dtype == expected.dtype == torch.float64
    assert found.shape == expected.shape
    scale = expected.abs().max().item()
    assert scale > 0
    assert (found - expected).abs().max().item() <= TOLERANCE * scale


def check(models: Beside, pairs: list[Pair]) -> None:
    """Copies our perturbed values into PEFT's layers and compares outputs and gradients, site by site, then logits.

    The logits are compared last, so that a tensor which all sites share has been copied for all.
    """
    parameters = dict(models.mine.model.named_parameters())
    for site in models.sites:
        module, layer = models.mine.model.get_submodule(site), models.layer(site)
        values = [
            parameters.get(f"{site}.d_{pair.own}", parameters.get(f"d_{pair.own}"))
            for pair in pairs
        ]
        others = [pair.theirs(layer) for pair in pairs]
        with torch.no_grad():
            for pair, value, other in zip(pairs, values, others, strict=True):
                assert other.shape == pair.to(value).shape, f"{site}: {pair.own}"
                other.copy_(pair.to(value))
        _compare(module, layer, pairs, values, others)
    for name, head in models.mine.parameters("heads").items():
        models.theirs.base_model.model.get_parameter(name).data.copy_(head)
    found, expected = tiny.logits(models.mine.model), tiny.logits(models.theirs)
    close(found, expected)
    with models.mine.disabled():
        plain = tiny.logits(models.mine.model)
    assert (plain - expected).abs().max() > 1e-3 * expected.abs().max(), "the delta has no effect"


def _compare(module: Any, layer: Any, pairs: list, values: list, others: list) -> None:
    generator = torch.Generator().manual_seed(11)
    width = layer.get_base_layer().weight.shape[
        layer.get_base_layer().__class__.__name__ != "Conv1D"
    ]
    x = torch.randn(2, 5, width, dtype=torch.float64, generator=generator)
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    outputs = [module(inputs[0]), layer(inputs[1])]
    close(*outputs)
    seed = torch.randn(outputs[0].shape, dtype=torch.float64, generator=generator)
    trained = [i for i, value in enumerate(values) if value.requires_grad]
    ours = torch.autograd.grad(outputs[0], [inputs[0], *(values[i] for i in trained)], seed)
    wanted = torch.autograd.grad(outputs[1], [inputs[1], *(others[i] for i in trained)], seed)
    close(ours[0], wanted[0])
    for i, found, expected in zip(trained, ours[1:], wanted[1:], strict=True):
        close(pairs[i].to(found), expected)
