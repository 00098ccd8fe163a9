"""Initial values of delta parameters. Each draws in float64 on the CPU, so that every machine gets the same bits."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import torch

from deltac.sites import Shape


@dataclass(frozen=True)
class Zeros:
    """All zeros."""

    name = "zeros"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Zeros of that shape; draws nothing."""
        return torch.zeros(shape, dtype=torch.float64, device="cpu")


@dataclass(frozen=True)
class Constant:
    """One value everywhere."""

    value: float
    name = "constant"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """That value in that shape; draws nothing."""
        return torch.full(shape, self.value, dtype=torch.float64, device="cpu")


@dataclass(frozen=True)
class Normal:
    """Gaussian with mean 0 and standard deviation `std`, cut off at `cut` standard deviations where that is given."""

    std: float
    cut: float | None = None
    name = "normal"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Values of that shape drawn from the distribution."""
        values = torch.empty(shape, dtype=torch.float64, device="cpu")
        if self.cut is None:
            return values.normal_(0.0, self.std, generator=generator)
        bound = self.cut * self.std
        return torch.nn.init.trunc_normal_(
            values, 0.0, self.std, -bound, bound, generator=generator
        )


@dataclass(frozen=True)
class AroundOne:
    """Gaussian with mean 1 and standard deviation `std`."""

    std: float
    name = "normal around one"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Values of that shape drawn from the distribution."""
        return 1.0 + Normal(self.std)(shape, generator)


@dataclass(frozen=True)
class Uniform:
    """Uniform between two bounds."""

    low: float
    high: float
    name = "uniform"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Values of that shape drawn from the distribution."""
        values = torch.empty(shape, dtype=torch.float64, device="cpu")
        return values.uniform_(self.low, self.high, generator=generator)


@dataclass(frozen=True)
class Ternary:
    """√sparsity and −√sparsity, each with the probability 1 / (2 sparsity), else 0 (Achlioptas, 2003)."""

    sparsity: float
    name = "ternary"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Values of that shape drawn from the distribution."""
        values = Uniform(-self.sparsity, self.sparsity)(shape, generator)
        return torch.where(values.abs() < 1, values.sign() * math.sqrt(self.sparsity), 0.0)


@dataclass(frozen=True)
class KaimingUniform:
    """Uniform on ±sqrt(6 / ((1 + a²) fan_in)), fan_in the size of the last dimension (He et al., 2015).

    With a = √5 it is nn.Linear's own default, ±1/sqrt(fan_in).
    """

    a: float = math.sqrt(5)
    name = "kaiming-uniform"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Values of that shape drawn from the distribution."""
        bound = math.sqrt(6.0 / ((1.0 + self.a**2) * shape[-1]))
        return Uniform(-bound, bound)(shape, generator)


@dataclass(frozen=True)
class GlorotUniform:
    """Uniform on ±sqrt(6 / (a + b)), a and b the sizes of the last two dimensions (Glorot & Bengio, 2010)."""

    name = "glorot-uniform"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Values of that shape, each matrix of the last two dimensions by itself."""
        bound = math.sqrt(6.0 / (shape[-2] + shape[-1]))
        return Uniform(-bound, bound)(shape, generator)


@dataclass(frozen=True)
class Orthonormal:
    """Orthonormal rows in uniform directions: Q of the QR decomposition of a Gaussian matrix (Saxe et al., 2014)."""

    name = "orthonormal"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Values of that shape, [..., rows, columns] with no more rows than columns."""
        drawn = Normal(1.0)((*shape[:-2], shape[-1], shape[-2]), generator)
        q, r = torch.linalg.qr(drawn)
        return (q * r.diagonal(dim1=-2, dim2=-1).sign()[..., None, :]).mT


@dataclass(frozen=True)
class Paired:
    """Rows in pairs of equal ones, an even number of them, uniform on ±1/sqrt(number of pairs)."""

    name = "paired-uniform"

    def __call__(self, shape: Shape, generator: torch.Generator) -> torch.Tensor:
        """Values of that shape, [rows, columns]."""
        pairs = shape[0] // 2
        bound = 1 / math.sqrt(pairs)
        return Uniform(-bound, bound)((pairs, *shape[1:]), generator).repeat_interleave(2, dim=0)


@dataclass(frozen=True)
class ForEach:
    """Another initialiser for each item of a stack: values of shape [items, …], drawn one item after the other."""

    init: Any

    name = "for-each"

    @property
    def needs_weight(self) -> bool:
        """Whether it is called with the weights too, stacked alike."""
        return getattr(self.init, "needs_weight", False)

    def __call__(
        self, shape: Shape, generator: torch.Generator, *weights: torch.Tensor
    ) -> torch.Tensor:
        """Values of that shape, [items, …]."""
        each = (tuple(weight[item] for weight in weights) for item in range(shape[0]))
        return torch.stack([self.init(shape[1:], generator, *own) for own in each])


def seeded(seed: int, name: str) -> torch.Generator:
    """A CPU generator that depends on the seed and the parameter's full name and on nothing else."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    # torch takes 64 bits; the sign bit is left out because manual_seed reads it as a negative number.
    return torch.Generator("cpu").manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def initial_value(
    init: Any,
    shape: Shape,
    *,
    seed: int,
    name: str,
    dtype: torch.dtype,
    weight: torch.Tensor | None = None,
) -> torch.Tensor:
    """The initial value of the parameter `name`: drawn in float64 on the CPU, then cast to `dtype`.

    `weight` is the base's weight at the site, for initialisers that need it.
    """
    given = () if weight is None else (weight,)
    return init(shape, seeded(seed, name), *given).to(dtype)


def describe(init: Any) -> str:
    """How the manifest names an initialiser, such as `normal(std=0.01, cut=2.0)`."""
    if isinstance(init, ForEach):
        return f"{describe(init.init)} for each expert"
    values = [
        f"{key}={value}" if isinstance(value, (int, str)) else f"{key}={value:.6g}"
        for key, value in vars(init).items()
        if value is not None and not key.startswith("_")
    ]
    name = f"{init.name} of the weight" if getattr(init, "needs_weight", False) else init.name
    return f"{name}({', '.join(values)})" if values else name
