"""MPO: a weight as a chain of small tensors around a large one, of which the small ones are trained."""

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from deltac.operators._contract import NewParameter, Operator, Paper, Refusal
from deltac.operators._fields import option
from deltac.operators._init import Zeros


@dataclass(frozen=True)
class Mpo(Operator):
    """W' = T_1 ⋯ C ⋯ T_n, a matrix product operator: C is fixed, the auxiliary tensors T_k = 1 + A_k are trained.

    out = i_1 ⋯ i_n and in = j_1 ⋯ j_n. Tensor k has the indices (bond k − 1, i_k j_k, bond k); left of C the first two
    together are as large as the third, right of C the last two as the first: no bond is cut. The paper starts with the
    T_k of singular value decompositions. Here they start as identities, which reaches the same W': so C is W itself,
    the model starts as the base, and nothing of the size of W is saved.
    """

    tensors: int = option(5, "Number n of tensors, odd; C is in the middle.", minimum=3, maximum=9)
    factor: int = option(4, "Largest i_k and j_k of an auxiliary tensor.", minimum=2, maximum=64)

    name: ClassVar = "mpo"
    family: ClassVar = "reparameterization"
    site: ClassVar = "weight"
    identity: ClassVar = "exact"
    paper: ClassVar = Paper(
        "Enabling Lightweight Fine-tuning for Pre-trained Language Model Compression based on Matrix Product Operators",
        "Liu et al.",
        2021,
        "https://arxiv.org/abs/2106.02205",
    )

    def _factors(self, number):
        """`out` or `in` as n factors: from both ends the largest that are allowed, the rest in the middle."""
        left, right = [], []
        for _ in range(self.tensors // 2):
            for side in (left, right):
                side.append(max(d for d in range(1, self.factor + 1) if number % d == 0))
                number //= side[-1]
        return [*left, number, *reversed(right)]

    def parameters(self, site):
        """A_k: square, of the size (i_1 j_1) ⋯ (i_k j_k) left of C, (i_k j_k) ⋯ (i_n j_n) right of it."""
        if len(site.shape) != 2:
            message = f"it needs a matrix, this has the shape {list(site.shape)}"
            raise Refusal(message, "leave it out of the target")
        if self.tensors % 2 == 0:
            raise Refusal(
                f"{self.tensors} tensors have none in the middle", "give an odd number", "tensors"
            )
        pairs = [i * j for i, j in zip(*map(self._factors, site.shape), strict=True)]
        half, whole = self.tensors // 2, prod(site.shape)
        left = {k: prod(pairs[:k]) for k in range(1, half + 1)}
        right = {k: prod(pairs[k - 1 :]) for k in range(half + 2, self.tensors + 1)}
        widest = max(left[half], right[half + 2])
        if widest == 1 or widest**2 > whole:
            message = f"{list(site.shape)} has no factors up to {self.factor}"
            fix = "give a larger 'factor', or leave it out of the target"
            if widest > 1:
                message = f"the auxiliary tensors of {list(site.shape)} would be larger than C"
                fix = "give a smaller 'factor' or fewer 'tensors'"
            raise Refusal(message, fix, "factor")
        return {f"A{k}": NewParameter((m, m), Zeros()) for k, m in {**left, **right}.items()}

    def weight(self, w, p):
        """The chain, contracted from C outwards; A_k = 0 adds zeros."""
        n, half = self.tensors, self.tensors // 2
        rows, columns = self._factors(w.shape[0]), self._factors(w.shape[1])
        t = w.reshape(*rows, *columns).permute([axis for k in range(n) for axis in (k, n + k)])
        shape = t.shape
        for a in (getattr(p, f"A{k}") for k in range(half, 0, -1)):
            t = t.reshape(a.shape[0], -1)
            t = t + a @ t
        for a in (getattr(p, f"A{k}") for k in range(half + 2, n + 1)):
            t = t.reshape(-1, a.shape[0])
            t = t + t @ a
        return t.reshape(shape).permute([*range(0, 2 * n, 2), *range(1, 2 * n, 2)]).reshape(w.shape)
