"""Matrices with a structure, for operators to write their mathematics with.

Each is a function that returns the dense matrix M, which is its definition, and knows a cheaper way to compute x Mᵀ.
The compiler keeps a call as one node, and takes the cheaper way where M is multiplied with the input of a linear map.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch.overrides import handle_torch_function, has_torch_function


class Structured:
    """A function of tensors that returns a structured matrix M: [rows, columns].

    Attributes:
        dense: M, the definition.
        product: the function (x, *arguments) → x Mᵀ, for x: [..., columns].
        cost: floating-point operations of `product` for one row of x, from the shapes of the arguments.
    """

    def __init__(
        self,
        dense: Callable[..., torch.Tensor],
        product: Callable[..., torch.Tensor],
        cost: Callable[..., int],
    ) -> None:
        functools.update_wrapper(self, dense)
        self.dense, self.product, self.cost = dense, product, cost

    def __call__(self, *arguments: Any) -> torch.Tensor:
        """The dense matrix; a node of its own under tracing."""
        if has_torch_function(arguments):
            return handle_torch_function(self, arguments, *arguments)
        return self.dense(*arguments)

    def __reduce__(self) -> str:
        # Pickled by name, as a function is.
        return self.__name__


def structured(product: Callable[..., torch.Tensor], cost: Callable[..., int]) -> Callable:
    """Makes the function that it decorates, which returns a dense matrix, a `Structured` one."""
    return lambda dense: Structured(dense, product, cost)


def one_node(function: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Makes a function of tensors one node under tracing, with Python of its own that tracing needn't follow."""

    @functools.wraps(function)
    def call(*arguments: Any) -> torch.Tensor:
        if has_torch_function(arguments):
            return handle_torch_function(call, arguments, *arguments)
        return function(*arguments)

    return call


def wide(value: torch.Tensor) -> torch.Tensor:
    """The tensor in float32 at least, for functions that torch lacks in half precision."""
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _blocks_product(x: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    count, _, columns = blocks.shape
    parts = x.unflatten(-1, (count, columns)).unsqueeze(-2)
    return (parts @ blocks.mT).flatten(-3)


@structured(_blocks_product, lambda blocks: 2 * blocks[0] * blocks[1] * blocks[2])
def block_diagonal(blocks: torch.Tensor) -> torch.Tensor:
    """The matrix with these blocks on its diagonal; blocks: [count, rows, columns]."""
    count, rows, columns = blocks.shape
    placed = torch.diag_embed(blocks.permute(1, 2, 0))  # [rows, columns, count, count]
    return placed.permute(2, 0, 3, 1).reshape(count * rows, count * columns)


@one_node
def row_norm(m: torch.Tensor) -> torch.Tensor:
    """The length of each row, [rows]. No gradient flows through it where the matrix is detached."""
    return torch.linalg.vector_norm(m, dim=1)
