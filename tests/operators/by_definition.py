"""The laws' model with random weights in float64, and how two results are compared: for checks by a definition."""

import tiny
import torch

from deltac.testing import LawsConfig, LawsModel

#: Relative to the largest value: sums of few products in float64 in another order.
TOLERANCE = 1e-10


def laws_model(base="linear"):
    """The model with two blocks of that kind of module."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return tiny.randomize(LawsModel(LawsConfig(base=base)), 3).double().eval()


def output(model):
    """Its last hidden state on fixed tokens."""
    return model(input_ids=torch.arange(20).reshape(4, 5) % 10).last_hidden_state


def close(found, expected):
    """Both in float64, and equal but for rounding."""
    assert found.dtype == expected.dtype == torch.float64
    scale = expected.abs().max().item()
    assert scale > 0
    assert (found - expected).abs().max().item() <= TOLERANCE * scale
