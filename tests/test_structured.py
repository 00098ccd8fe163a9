"""Structured matrices: the cheap product is the dense one, and tracing keeps a call as one node."""

import pickle

import pytest
import torch
from torch import fx

from deltac.operators import _matrices as matrices
from deltac.operators import _orthogonal as orthogonal
from deltac.operators import block_diagonal, row_norm
from deltac.operators._sparse import sparse
from deltac.operators._woven import woven_blocks

#: Entries of a sparse matrix of 5 x 7: its second row is empty, and so is its last.
ENTRIES = torch.tensor([0, 3, 6, 15, 16, 21, 24])

#: Each structured matrix with arguments for it.
CASES = {
    "blocks": (block_diagonal, lambda draw: (draw(3, 4, 4),)),
    "oblong-blocks": (block_diagonal, lambda draw: (draw(3, 2, 5),)),
    "reflections": (matrices.householder, lambda draw: (draw(4, 9),)),
    "equal-reflections": (matrices.householder, lambda draw: (draw(1, 9).expand(2, 9),)),
    "rotation": (matrices.pair_rotation, lambda draw: (draw(3, 2, 4), draw(3, 2, 4))),
    "butterfly": (matrices.butterfly, lambda draw: (draw(3, 8, 4, 4),)),
    "thin-butterfly": (matrices.butterfly, lambda draw: (draw(2, 6, 2, 2),)),
    "one-factor": (matrices.butterfly, lambda draw: (draw(1, 3, 3, 3),)),
    "kronecker": (matrices.kronecker, lambda draw: (draw(2, 3), draw(4, 5))),
    "sparse": (sparse, lambda draw: (draw(7), ENTRIES, 5, 7)),
    "circulant": (matrices.block_circulant, lambda draw: (draw(2, 3, 4),)),
    "odd-circulant": (matrices.block_circulant, lambda draw: (draw(3, 2, 5),)),
    "repeated": (matrices.repeated, lambda draw: (draw(6, 4), 12)),
    "cut-off": (matrices.repeated, lambda draw: (draw(6, 4), 10)),
    "woven-blocks": (woven_blocks, lambda draw: (draw(3, 6, 4),)),
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
    inputs = [x, *(v for v in values if isinstance(v, torch.Tensor) and v.is_floating_point())]
    for found, wanted in zip(
        torch.autograd.grad(cheap, inputs, seed),
        torch.autograd.grad(expected, inputs, seed),
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    assert pickle.loads(pickle.dumps(function)) is function


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_product_keeps_the_dtype_of_x(case, dtype):
    function, arguments = CASES[case]
    generator = torch.Generator().manual_seed(0)

    def draw(*size):
        return torch.randn(size, generator=generator).to(dtype)

    values = arguments(draw)
    dense = function(*values)
    x = draw(3, dense.shape[1])
    cheap = function.product(x, *values)
    assert dense.dtype == cheap.dtype == dtype
    expected = (x.double() @ dense.double().T).float()
    bound = 200 * torch.finfo(dtype).eps * max(1.0, expected.abs().max().item())
    assert (cheap.float() - expected).abs().max().item() <= bound


@pytest.mark.parametrize("case", CASES)
def test_cost_is_a_number_made_from_shapes(case):
    function, arguments = CASES[case]
    values = arguments(lambda *size: torch.ones(size))
    shapes = [tuple(v.shape) if isinstance(v, torch.Tensor) else v for v in values]
    assert function.cost(*shapes) > 0


def test_block_diagonal_is_that_of_torch():
    blocks = torch.randn(3, 2, 5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(block_diagonal(blocks), torch.block_diag(*blocks))


def test_butterfly_of_all_factors_joins_every_pair():
    blocks = torch.ones(3, 4, 2, 2)
    assert (matrices.butterfly(blocks) == 1).all()
    one = matrices.butterfly(torch.ones(1, 4, 2, 2))
    assert torch.equal(one, torch.block_diag(*torch.ones(4, 2, 2)))


@pytest.mark.parametrize("size", [2, 3, 6])
def test_cayley_makes_rotations(size):
    upper = torch.randn(
        5, size * (size - 1) // 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    q = orthogonal.skew(upper)
    assert torch.equal(q, -q.mT)
    assert torch.equal(q[:, 0, 1], upper[:, 0])
    r, eye = orthogonal.cayley(q), torch.eye(size, dtype=torch.float64)
    torch.testing.assert_close(r @ r.mT, eye.expand_as(r), rtol=0, atol=1e-12)
    torch.testing.assert_close(torch.linalg.det(r), torch.ones(5, dtype=torch.float64))
    assert torch.equal(orthogonal.cayley(0 * q), eye.expand_as(r))
    small = 0.01 * q
    exact = orthogonal.cayley(small)
    errors = [(orthogonal.cayley_neumann(small, k) - exact).abs().max() for k in (1, 2, 3, 4)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6
    assert torch.equal(orthogonal.cayley_neumann(0 * q, 3), eye.expand_as(r))


def test_calls_stay_nodes():
    graph = fx.symbolic_trace(lambda w, b: row_norm(w @ block_diagonal(b))).graph
    targets = [node.target for node in graph.nodes]
    assert block_diagonal in targets and row_norm in targets


def _sparse_case(rows, columns, share, tokens):
    generator = torch.Generator().manual_seed(0)
    count = int(share * rows * columns)
    entries = torch.randperm(rows * columns, generator=generator)[:count].sort().values
    values = torch.randn(count, generator=generator, dtype=torch.float64, requires_grad=True)
    x = torch.randn(tokens, columns, generator=generator, dtype=torch.float64, requires_grad=True)
    return x, values, entries, rows, columns


def test_sparse_product_of_many_rows():
    # More rows than the backward pass takes at a time.
    x, values, entries, rows, columns = case = _sparse_case(2500, 6, 0.3, 4)
    seed = torch.randn(4, rows, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad(sparse.product(*case), (x, values), seed)
    wanted = torch.autograd.grad(x @ sparse(values, entries, rows, columns).T, (x, values), seed)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_sparse_product_keeps_x_and_the_values_alone():
    case = _sparse_case(40, 30, 0.1, 8)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        sparse.product(*case)
    kept = {tensor.data_ptr(): tensor.numel() for tensor in saved}
    assert sum(kept.values()) <= sum(tensor.numel() for tensor in case[:3])


def test_sparse_product_is_an_operation_that_torch_can_compile():
    x, values, entries, rows, columns = _sparse_case(5, 7, 0.3, 3)

    def run(x, values):
        return sparse.product(x, values, entries, rows, columns).sin()

    compiled = torch.compile(run, fullgraph=True, backend="aot_eager")
    seed = torch.ones(3, 5, dtype=torch.float64)
    found = torch.autograd.grad(compiled(x, values), (x, values), seed)
    torch.testing.assert_close(found, torch.autograd.grad(run(x, values), (x, values), seed))
