"""The Fastfood transform (Le et al., 2013): a random projection P = H G Π H B from few dimensions to many, not formed.

H is a Walsh-Hadamard matrix, G and B are diagonal, with Gaussian values and with signs, and Π is a permutation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torch.overrides import handle_torch_function, has_torch_function

from deltac.sites import Shape


@dataclass(frozen=True)
class Signs:
    """−1 or 1, with equal probability."""

    name = "signs"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Signs of that shape."""
        return torch.randint(0, 2, shape, generator=generator).double() * 2 - 1


@dataclass(frozen=True)
class Permutation:
    """A random order of the numbers from zero on."""

    name = "permutation"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """A permutation of as many numbers as the one dimension of the shape has."""
        return torch.randperm(shape[0], generator=generator).double()


def power_of_two(number: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (number - 1).bit_length()


def hadamard(x: torch.Tensor) -> torch.Tensor:
    """H x for x: [n], n a power of two, in n log n additions; the entries of H are 1 and −1."""
    if has_torch_function((x,)):
        return handle_torch_function(hadamard, (x,), x)
    width = 1
    while width < x.numel():
        upper, lower = x.reshape(-1, 2, width).unbind(1)
        x = torch.stack((upper + lower, upper - lower), 1)
        width *= 2
    return x.flatten()


def fastfood(
    z: torch.Tensor,
    signs: torch.Tensor,
    permutation: torch.Tensor,
    gaussian: torch.Tensor,
    size: int,
) -> torch.Tensor:
    """The first `size` elements of H G Π H B z, scaled so that each column of the projection has a length near one.

    Args:
        z: [d], and zeros up to the length n of the transform, a power of two.
        signs: the diagonal of B, [d]; the others would meet zeros.
        permutation: [n].
        gaussian: the diagonal of G, [n].
        size: how many elements are wanted, at most n.
    """
    few, many = power_of_two(z.shape[0]), gaussian.shape[0]
    # What H makes of a vector that ends in zeros repeats itself.
    spread = hadamard(F.pad(signs * z, (0, few - z.shape[0]))).repeat(many // few)
    projected = hadamard(gaussian * spread[permutation])[:size]
    return projected / (size * gaussian.square().sum()).sqrt()
