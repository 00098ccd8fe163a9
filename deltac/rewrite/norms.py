"""Row norms of W + s B A without the matrix product: ‖w‖² + 2s rowsum(B ⊙ (W Aᵀ)) + s² rowsum((B A Aᵀ) ⊙ B)."""

from __future__ import annotations

import torch
from torch import fx

from deltac.operators import row_norm
from deltac.rewrite.weight_function import name_of, terms_of


def low_rank_row_norm(
    w: torch.Tensor, b: torch.Tensor, a: torch.Tensor, scale: float
) -> torch.Tensor:
    """The length of each row of W + s B A, [out]; w: [out, in], b: [out, rank], a: [rank, in]."""
    square = torch.linalg.vector_norm(w, dim=1).square()
    cross = (b * (w @ a.t())).sum(1)
    own = ((b @ (a @ a.t())) * b).sum(1)
    # Rounding may bring a sum that is nearly zero below it.
    return (square + 2 * scale * cross + scale**2 * own).clamp_min(0).sqrt()


def with_cheap_norms(graph: fx.Graph) -> None:
    """Uses the formula above for each norm of such a sum; other norms stay as they are."""
    for node in list(graph.nodes):
        if node.target is not row_norm:
            continue
        matrix, detached = node.args[0], False
        while name_of(matrix) == "detach":
            matrix, detached = matrix.args[0], True
        terms = terms_of(matrix)
        if len(terms) != 2 or terms[0][0] != 1.0 or name_of(terms[1][1]) not in ("matmul", "mm"):
            continue
        scale, product = terms[1]
        inputs = (terms[0][1], *product.args)
        with graph.inserting_before(node):
            if detached:
                inputs = tuple(graph.call_method("detach", (each,)) for each in inputs)
            cheap = graph.call_function(low_rank_row_norm, (*inputs, scale))
        node.replace_all_uses_with(cheap)
        graph.erase_node(node)
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
