"""Structured matrices: the cheap product is the dense one, and tracing keeps a call as one node."""

import pickle

import pytest
import torch
from torch import fx

from deltac.operators import block_diagonal, row_norm

#: Each structured matrix with arguments for it.
CASES = {
    "blocks": (block_diagonal, lambda draw: (draw(3, 4, 4),)),
    "oblong-blocks": (block_diagonal, lambda draw: (draw(3, 2, 5),)),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("shape", [(), (7,), (2, 5)])
def test_product_is_the_dense_one(case, shape):
    function, arguments = CASES[case]
    generator = torch.Generator().manual_seed(0)

    def draw(*size):
        return torch.randn(size, generator=generator, dtype=torch.float64, requires_grad=True)

    values = arguments(draw)
    dense = function(*values)
    x = draw(*shape, dense.shape[1])
    cheap, expected = function.product(x, *values), x @ dense.T
    torch.testing.assert_close(cheap, expected, rtol=1e-12, atol=1e-12)
    seed = torch.randn(expected.shape, generator=generator, dtype=torch.float64)
    inputs = [value for value in (x, *values) if value.is_floating_point()]
    for found, wanted in zip(
        torch.autograd.grad(cheap, inputs, seed),
        torch.autograd.grad(expected, inputs, seed),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    assert pickle.loads(pickle.dumps(function)) is function


def test_calls_stay_nodes():
    graph = fx.symbolic_trace(lambda w, b: row_norm(w @ block_diagonal(b))).graph
    targets = [node.target for node in graph.nodes]
    assert block_diagonal in targets and row_norm in targets
