"""One layer of deltac beside the same layer of PEFT, with the same perturbed parameters in float64."""

import contextlib
import warnings

import peft
import tiny
import torch

import deltac
from deltac.testing import LawsConfig, LawsModel

#: Relative to the largest value: sums of few products in float64 in another order.
TOLERANCE = 1e-10


@contextlib.contextmanager
def default_dtype(dtype):
    """PEFT makes some of its tensors in the default dtype."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def base(kind):
    """A model with two modules of that kind, with the same values each time."""
    with torch.random.fork_rng(devices=[]), default_dtype(torch.float32):
        torch.manual_seed(1)
        return tiny.randomize(LawsModel(LawsConfig(base=kind)), 3).double().eval()


def compiled(kind, operator, **options):
    """The base with the operator on both modules, perturbed."""
    delta = {"name": "d", "operator": operator, "target": {"module": "block.*"}, **options}
    spec = {"version": 1, "heads": [], "deltas": [delta]}
    made = tiny.perturb(deltac.compile(spec, model=base(kind)))
    made.model.double()
    return made


def peer(kind, config):
    """PEFT's first layer on the same base."""
    with warnings.catch_warnings(), default_dtype(torch.float64):
        # PEFT asks transformers for a property that transformers has deprecated.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        model = peft.get_peft_model(base(kind), config).double()
    return model.base_model.model.block[0]


def on(kind, **options):
    """The keys that every config of PEFT takes here."""
    return {"target_modules": r"block\.\d+", **options}


def draw(*size):
    """Random values in float64."""
    return torch.randn(size, generator=torch.Generator().manual_seed(9), dtype=torch.float64)


def inputs(kind):
    """What a module of that kind reads; a gradient flows to it where it is no index."""
    if kind == "embedding":
        return torch.arange(10).reshape(2, 5)
    return draw(4, 5, 12).requires_grad_()


def close(found, expected, tolerance=TOLERANCE):
    """Asserts that two tensors agree."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    scale = expected.abs().max().item()
    assert scale > 0
    assert (found - expected).abs().max().item() <= tolerance * scale


def agree(kind, mine, theirs, grads):
    """Asserts that two layers compute the same and have the same gradients.

    Args:
        kind: the kind of base module.
        mine: deltac's module.
        theirs: a function of x.
        grads: our parameter's name → a function that gives the gradient that it should have.
    """
    x, z = inputs(kind), inputs(kind)
    found = mine(x)
    with default_dtype(torch.float64):
        expected = theirs(z)
    close(found, expected)
    with torch.no_grad():
        untouched = type(mine).__mro__[1].forward(mine, x)
        assert (untouched - found).abs().max() > 0.01, "the delta has no effect"
    seed = draw(*found.shape)
    found.backward(seed)
    expected.backward(seed)
    if x.is_floating_point():
        close(x.grad, z.grad)
    for name, expect in grads.items():
        close(mine.get_parameter(f"d_{name}").grad, expect())
