"""Structured matrices of the multiplicative and the high-rank methods; see `_structured.py`."""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from deltac.operators._structured import block_diagonal, one_node, structured, wide


def _unit_rows(v: torch.Tensor) -> torch.Tensor:
    return v / torch.linalg.vector_norm(v, dim=1, keepdim=True)


def _householder_product(x: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    # The product of the reflections is I - Vᵀ T V with T⁻¹ = I/2 + the part of V Vᵀ above its diagonal.
    unit = _unit_rows(wide(v))
    eye = torch.eye(v.shape[0], dtype=unit.dtype, device=v.device)
    inverse = eye / 2 + torch.triu(unit @ unit.T, 1)
    t = torch.linalg.solve_triangular(inverse, eye, upper=True)
    unit, t = unit.to(x.dtype), t.to(x.dtype)
    return x - (x @ unit.T) @ t.T @ unit


@structured(_householder_product, lambda v: 4 * v[0] * v[1] + 2 * v[0] ** 2)
def householder(v: torch.Tensor) -> torch.Tensor:
    """H₁ H₂ … H_r, H_i = I - 2 v_i v_iᵀ / ‖v_i‖², a product of reflections; v: [r, size]."""
    product = torch.eye(v.shape[1], dtype=v.dtype, device=v.device)
    for each in _unit_rows(v):
        product = product - 2 * torch.outer(product @ each, each)
    return product


def _rotation_product(x: torch.Tensor, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    first, second = x.unflatten(-1, tuple(own.shape)).unbind(-2)
    turned = torch.stack((-second, first), -2)
    return (turned.flatten(-3) * other.flatten()).addcmul(x, own.flatten())


@structured(_rotation_product, lambda own, other: 4 * math.prod(own))
def pair_rotation(own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """The matrix that maps each pair (x, y) to (own₀ x - other₀ y, other₁ x + own₁ y).

    The two halves of a group make its pairs. own, other: [groups, 2, pairs], as their cosines and sines.
    """
    count = own.numel()
    index = torch.arange(count, device=own.device).view(own.shape)
    sign = torch.tensor([[-1.0], [1.0]], dtype=own.dtype, device=own.device)
    swapped = torch.eye(count, dtype=own.dtype, device=own.device)[index.flip(1).flatten()]
    return torch.diag(own.flatten()) + (sign * other).flatten()[:, None] * swapped


def _butterfly_product(x: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    _, count, size, _ = blocks.shape
    for level in reversed(range(blocks.shape[0])):
        # Pairs of half blocks that lie 2^level half blocks apart become neighbours.
        apart = 2**level
        if level:
            x = x.unflatten(-1, (count // apart, 2, apart, size // 2)).transpose(-3, -2).flatten(-4)
        x = (x.unflatten(-1, (count, 1, size)) @ blocks[level].mT).flatten(-3)
        if level:
            x = x.unflatten(-1, (count // apart, apart, 2, size // 2)).transpose(-3, -2).flatten(-4)
    return x


@structured(_butterfly_product, lambda blocks: 2 * math.prod(blocks) + 4 * math.prod(blocks[:3]))
def butterfly(blocks: torch.Tensor) -> torch.Tensor:
    """G₀ G₁ … of an orthogonal butterfly; blocks: [factors, count, b, b].

    G_i joins half blocks of b/2 numbers that lie 2^i half blocks apart: each of its b x b blocks acts on two of them.
    """
    factors, count, size, _ = blocks.shape
    columns = torch.arange(count * size, device=blocks.device)
    product = torch.eye(count * size, dtype=blocks.dtype, device=blocks.device)
    for level in range(factors):
        place = columns
        if level:
            # Of each 2^(level + 1) half blocks, the k-th of the first half and of the second are neighbours.
            halves = columns.view(-1, 2, 2**level, size // 2)
            place = halves.transpose(1, 2).flatten().argsort()
        product = product @ block_diagonal.dense(blocks[level])[place][:, place]
    return product


def _kronecker_product(x: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    parts = x.unflatten(-1, (left.shape[1], right.shape[1])) @ right.T
    return (left @ parts).flatten(-2)


@structured(
    _kronecker_product,
    lambda left, right: 2 * right[0] * left[1] * (right[1] + left[0]),
)
def kronecker(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """The Kronecker product: each entry of `left` times the whole of `right`."""
    return torch.kron(left, right)


def _circulant_product(x: torch.Tensor, kernels: torch.Tensor) -> torch.Tensor:
    size = kernels.shape[-1]
    spectrum = torch.fft.rfft(wide(x).unflatten(-1, (-1, size)))
    filters = torch.fft.rfft(wide(kernels)).conj()
    product = torch.einsum("...nf,mnf->...mf", spectrum, filters)
    return torch.fft.irfft(product, n=size).flatten(-2).to(x.dtype)


def _circulant_cost(kernels: tuple[int, ...]) -> int:
    rows, columns, size = kernels
    transforms = 5 * (rows + columns) * size * max(1, math.ceil(math.log2(size)))
    return transforms + 8 * rows * columns * (size // 2 + 1)


@structured(_circulant_product, _circulant_cost)
def block_circulant(kernels: torch.Tensor) -> torch.Tensor:
    """Circulant blocks, each given by its first row; each further row is shifted right by one.

    kernels: [rows, columns, b] for rows x columns blocks of b x b.
    """
    steps = torch.arange(kernels.shape[-1], device=kernels.device)
    blocks = kernels[..., (steps - steps[:, None]) % kernels.shape[-1]]
    return blocks.transpose(1, 2).flatten(2).flatten(0, 1)


def _repeated_product(x: torch.Tensor, shard: torch.Tensor, columns: int) -> torch.Tensor:
    rank = shard.shape[1]
    folded = F.pad(x, (0, -columns % rank)).unflatten(-1, (-1, rank)).sum(-2)
    return folded @ shard.T


@structured(_repeated_product, lambda shard, columns: columns + 2 * shard[0] * shard[1])
def repeated(shard: torch.Tensor, columns: int) -> torch.Tensor:
    """The shard side by side up to the number of columns, the last one cut off; shard: [rows, r]."""
    times = -(-columns // shard.shape[1])
    return shard.repeat(1, times)[:, :columns]


@one_node
def from_frequencies(
    coefficients: torch.Tensor, entries: torch.Tensor, rows: int, columns: int
) -> torch.Tensor:
    """The real part of the inverse 2-D Fourier transform of a matrix that is zero but at these entries.

    coefficients: [n]; entries: [n], row · columns + column. The matrix has a rank of up to 2 n: with the usual n, more
    than its smaller side, no product is cheaper than that with the dense matrix.
    """
    values = wide(coefficients)
    flat = torch.zeros(rows * columns, dtype=values.dtype, device=values.device)
    spectrum = flat.index_copy(0, entries, values).view(rows, columns)
    return torch.fft.ifft2(spectrum).real.to(coefficients.dtype)
