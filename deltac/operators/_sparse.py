"""Sparse matrices with a fixed pattern; see `_structured.py`.

The product is an operation of its own, so that its backward pass keeps nothing but x and the values: neither the dense
matrix nor a tensor of tokens x entries.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

from deltac.operators._structured import structured

#: Rows of the dense gradient that exist at a time.
_ROWS_AT_ONCE = 1024


def _weighted_sums(
    x: torch.Tensor, values: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, count: int
) -> torch.Tensor:
    """x Mᵀ for the M: [count, …] with these values at these places, ordered by row; x: [tokens, …]."""
    starts = torch.searchsorted(rows, torch.arange(count, device=rows.device))
    summed = F.embedding_bag(
        columns, x.T.contiguous(), starts, mode="sum", per_sample_weights=values
    )
    return summed.T.contiguous()


@torch.library.custom_op("deltac::sparse_product", mutates_args=())
def _product(
    x: torch.Tensor, values: torch.Tensor, entries: torch.Tensor, rows: int, columns: int
) -> torch.Tensor:
    """x Mᵀ; x: [tokens, columns]."""
    return _weighted_sums(x, values, entries // columns, entries % columns, rows)


@_product.register_fake
def _(x, values, entries, rows, columns):
    return x.new_empty(x.shape[0], rows)


@torch.library.custom_op("deltac::sparse_product_backward", mutates_args=())
def _backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    values: torch.Tensor,
    entries: torch.Tensor,
    rows: int,
    columns: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradients of x and of the values."""
    row, column = entries // columns, entries % columns
    order = torch.argsort(column, stable=True)
    to_x = _weighted_sums(grad, values[order], column[order], row[order], columns)
    # A part of the dense gradient at a time: one matrix product is faster than a short one for each entry.
    starts = range(0, rows, _ROWS_AT_ONCE)
    bounds = torch.searchsorted(
        entries, torch.tensor([*starts, rows], device=entries.device) * columns
    )
    parts = []
    for start, (low, high) in zip(starts, bounds.unfold(0, 2, 1).tolist(), strict=True):
        dense = grad[:, start : start + _ROWS_AT_ONCE].T @ x
        parts.append(dense.flatten()[entries[low:high] - start * columns])
    return to_x, torch.cat(parts)


@_backward.register_fake
def _(grad, x, values, entries, rows, columns):
    return torch.empty_like(x), torch.empty_like(values)


def _keep(ctx, inputs, output):
    *tensors, ctx.rows, ctx.columns = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, grad):
    to_x, to_values = _backward(grad.contiguous(), *ctx.saved_tensors, ctx.rows, ctx.columns)
    return to_x, to_values, None, None, None


_product.register_autograd(_differentiate, setup_context=_keep)


def _sparse_product(
    x: torch.Tensor, values: torch.Tensor, entries: torch.Tensor, rows: int, columns: int
) -> torch.Tensor:
    flat = _product(x.reshape(-1, columns), values.to(x.dtype), entries, rows, columns)
    return flat.reshape(*x.shape[:-1], rows)


# Scattered places cost: about fifteen operations of a matrix product for each entry.
@structured(_sparse_product, lambda values, entries, rows, columns: 15 * values[0])
def sparse(values: torch.Tensor, entries: torch.Tensor, rows: int, columns: int) -> torch.Tensor:
    """A sparse matrix [rows, columns] with these values at these entries, row · columns + column, in rising order."""
    flat = torch.zeros(rows * columns, dtype=values.dtype, device=values.device)
    return flat.index_copy(0, entries, values).view(rows, columns)
