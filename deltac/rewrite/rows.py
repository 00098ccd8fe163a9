"""Slices of fused weights in generated code: rows of W, and the features of x Wᵀ that they make.

All take the four numbers of a `deltac.sites.Rows`: count, stride, offset, length.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F


def take_rows(w: torch.Tensor, count: int, stride: int, offset: int, length: int) -> torch.Tensor:
    """The rows of w: [count · stride, …] as a tensor of their own: [count · length, …]."""
    return w.unflatten(0, (count, stride)).narrow(1, offset, length).flatten(0, 1)


def put_rows(
    w: torch.Tensor, rows: torch.Tensor, count: int, stride: int, offset: int, length: int
) -> torch.Tensor:
    """w: [count · stride, …] with these rows: [count · length, …] in their places."""
    runs = rows.unflatten(0, (count, length))
    whole = w.unflatten(0, (count, stride))
    return torch.slice_scatter(whole, runs, 1, offset, offset + length).flatten(0, 1)


def spread_rows(
    rows: torch.Tensor, count: int, stride: int, offset: int, length: int
) -> torch.Tensor:
    """Rows: [count · length, …] in their places, and zeros elsewhere: [count · stride, …]."""
    runs = rows.unflatten(0, (count, length)).movedim(1, -1)
    padded = F.pad(runs, (offset, stride - offset - length))
    return padded.movedim(-1, 1).flatten(0, 1)


def spread_features(
    z: torch.Tensor, count: int, stride: int, offset: int, length: int
) -> torch.Tensor:
    """z: [..., count · length] at the features that these rows make, and zeros elsewhere: [..., count · stride]."""
    runs = z.unflatten(-1, (count, length))
    return F.pad(runs, (offset, stride - offset - length)).flatten(-2)


def add_features(
    y: torch.Tensor,
    z: torch.Tensor,
    scale: float,
    count: int,
    stride: int,
    offset: int,
    length: int,
) -> torch.Tensor:
    """y: [..., count · stride] with scale · z: [..., count · length] added to the features that these rows make."""
    whole = y.unflatten(-1, (count, stride))
    runs = whole.narrow(-1, offset, length)
    runs = torch.add(runs, z.unflatten(-1, (count, length)), alpha=scale)
    return torch.slice_scatter(whole, runs, -1, offset, offset + length).flatten(-2)
