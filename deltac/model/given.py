"""The inputs that a spec gives in `model.inputs`, as tensors."""

from __future__ import annotations

import inspect
import math

import torch
from transformers import PreTrainedModel

from deltac.diagnostics import Problems, nearest
from deltac.model.fold import joined
from deltac.spec import InputSpec, Spec

#: An example needs no more numbers than this.
_MOST = 1 << 24


def given_inputs(spec: Spec, cls: type[PreTrainedModel]) -> dict[str, torch.Tensor] | None:
    """The tensors of the spec's `model.inputs` by name, None where it gives none.

    Raises:
        DeltacError: DLT260 for a name that the model's forward doesn't take, or a tensor that can't be made.
    """
    if spec.model is None or not spec.model.inputs:
        return None
    problems = Problems()
    names = [
        name
        for name, each in inspect.signature(cls.forward).parameters.items()
        if name != "self" and each.kind is not each.VAR_KEYWORD
    ]
    found = {}
    for name, made in spec.model.inputs.items():
        path = (*spec.model.path, "inputs", name)
        reason = _reason(made)
        if name not in names:
            close = nearest(name, names)
            fix = f"did you mean '{close}'?" if close else f"it takes {joined(names)}"
            message = f"{cls.__name__} takes no input '{name}'"
            problems.add("DLT260", message, spec.key_span(path), fix=fix)
        elif reason:
            message, fix = reason
            problems.add("DLT260", f"'{name}' {message}", spec.span(path), fix=fix)
        else:
            found[name] = _tensor(made)
    problems.raise_if_any()
    return found


def _reason(made: InputSpec) -> tuple[str, str] | None:
    """What is wrong with an input, and the way out; None where nothing is."""
    count = math.prod(made.shape)
    if count > _MOST:
        return f"holds {count:,} numbers", f"give a smaller example, of {_MOST:,} at most"
    if made.range is None:
        return None
    low, high = made.range
    if made.dtype == "bool":
        return "is of bool, which takes no range", "leave 'range' out"
    if not (math.isfinite(low) and math.isfinite(high)) or low > high:
        return f"has a range from {low:g} to {high:g}", "write the lower value first"
    if "int" in made.dtype and (low != int(low) or high != int(high)):
        return f"is of {made.dtype}, its range {low:g} to {high:g} is not", "write whole numbers"
    if "int" in made.dtype and max(abs(low), abs(high)) >= 2**31:
        return f"has a range from {low:g} to {high:g}", "write numbers below 2147483648"
    return None


def _tensor(made: InputSpec) -> torch.Tensor:
    dtype = getattr(torch, made.dtype)
    if made.range is None:
        whole = made.dtype == "bool" or "int" in made.dtype
        return torch.full(made.shape, 1 if whole else 0, dtype=dtype)
    low, high = made.range
    count = math.prod(made.shape)
    if "int" in made.dtype:
        turns = torch.arange(count) % (int(high) - int(low) + 1) + int(low)
        return turns.to(dtype).reshape(made.shape)
    return torch.linspace(low, high, count, dtype=torch.float64).to(dtype).reshape(made.shape)
