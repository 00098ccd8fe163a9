"""Block-diagonal matrices whose rows are dealt out again, so that what follows in blocks reads from every block."""

from __future__ import annotations

import torch

from deltac.operators._structured import structured


def _woven_product(x: torch.Tensor, blocks: torch.Tensor) -> torch.Tensor:
    count, rows, columns = blocks.shape
    parts = x.unflatten(-1, (count, columns)).unsqueeze(-2) @ blocks.mT
    return parts.flatten(-2).unflatten(-1, (count, rows // count)).transpose(-3, -2).flatten(-3)


@structured(_woven_product, lambda blocks: 2 * blocks[0] * blocks[1] * blocks[2])
def woven_blocks(blocks: torch.Tensor) -> torch.Tensor:
    """The block-diagonal matrix of blocks: [count, count · rows, columns] with its rows in another order.

    The rows of a block are cut into `count` groups; first come the first groups of all blocks, then the second ones.
    """
    count, rows, _ = blocks.shape
    dense = torch.block_diag(*blocks.unbind())
    return dense.unflatten(0, (count, count, rows // count)).transpose(0, 1).flatten(0, 2)
