"""Initial values that are made from the base's weight W: [out, in], in float64. They read it and never change it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch.utils.weak import WeakTensorKeyDictionary

from deltac.sites import Shape

#: Decompositions of the weights that are alive, so that the two factors of one weight cost one decomposition.
_svd, _qr = WeakTensorKeyDictionary(), WeakTensorKeyDictionary()


@dataclass(frozen=True)
class Lengths:
    """The Euclidean lengths of the rows of W, or of its columns."""

    of: Literal["rows", "columns"]
    name = "lengths"
    needs_weight = True

    def __call__(self, shape: Shape, generator: torch.Generator, w: torch.Tensor) -> torch.Tensor:
        """The lengths, [out] or [in]."""
        return torch.linalg.vector_norm(w, dim=1 if self.of == "rows" else 0)


@dataclass(frozen=True)
class Principal:
    """A factor of the best approximation of W of some rank: U √(S/s), or √(S/s) Vᵀ, with W ≈ U S Vᵀ.

    s times their product is that approximation (Meng et al., 2024). A singular vector is known up to its sign: the
    element of V that is largest in magnitude is made positive.
    """

    side: Literal["left", "right"]
    scale: float
    name = "principal-part"
    needs_weight = True

    def __call__(self, shape: Shape, generator: torch.Generator, w: torch.Tensor) -> torch.Tensor:
        """The left factor, [out, rank], or the right one, [rank, in]."""
        if w not in _svd:
            _svd[w] = _decomposed(w)
        u, values, v = _svd[w]
        rank = shape[1] if self.side == "left" else shape[0]
        u, values, v = u[:, :rank], values[:rank], v[:rank]
        sign = torch.where(v.gather(1, v.abs().argmax(1, keepdim=True)) < 0, -1.0, 1.0)
        root = (values / self.scale).sqrt()
        return u * sign.T * root if self.side == "left" else root[:, None] * sign * v


@dataclass(frozen=True)
class LeadingQR:
    """The first columns of Q, or the first rows of R, with W = Q R and R's diagonal ≥ 0 (Büyükakyüz, 2024)."""

    side: Literal["left", "right"]
    name = "leading-qr"
    needs_weight = True

    def __call__(self, shape: Shape, generator: torch.Generator, w: torch.Tensor) -> torch.Tensor:
        """The left factor, [out, rank], or the right one, [rank, in]."""
        if w not in _qr:
            _qr[w] = torch.linalg.qr(w)
        q, r = _qr[w]
        rank = shape[1] if self.side == "left" else shape[0]
        sign = torch.where(r.diagonal() < 0, -1.0, 1.0)[:rank]
        return q[:, :rank] * sign if self.side == "left" else sign[:, None] * r[:rank]


def _decomposed(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """U, S and Vᵀ with W = U S Vᵀ, by eigenvectors of the smaller of W Wᵀ and Wᵀ W, which cost less than an SVD.

    The squares hide what is below 1e-8 of the largest singular value. All below 1e-7 of it counts as zero.
    """
    if w.shape[0] > w.shape[1]:
        v, values, u = _decomposed(w.T)
        return u.T, values, v.T
    squares, u = torch.linalg.eigh(w @ w.T)
    values, u = squares.flip(0).clamp(min=0).sqrt(), u.flip(1)
    values = torch.where(values > 1e-7 * values[0], values, 0.0)
    return u, values, u.T @ w / (values + (values == 0))[:, None]
