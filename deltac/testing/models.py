"""The small models that the laws run on, and one case: an operator with its options on one of them."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput
from transformers.pytorch_utils import Conv1D

import deltac
from deltac.operators import Operator
from deltac.testing.artifacts import with_artifacts
from deltac.testing.attention import Attention

WIDTH, ROWS = 12, 10


class RMSNorm(nn.Module):
    """The norm of Llama and T5: x / sqrt(mean(x²)) · w."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The norm, computed in float32 at least; x: [..., width]."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scaled = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)
        return self.weight * scaled.to(x.dtype)


class Pair(nn.Module):
    """A sub-module that returns a tuple, as attention modules do."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The tensor and a second item that no operator touches; x: [..., width]."""
        return torch.tanh(self.dense(x)), torch.sin(x)


#: Name → the module that stands at `block.0` of the laws' model.
BASES: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "linear-without-bias": lambda: nn.Linear(WIDTH, WIDTH, bias=False),
    "conv1d": lambda: Conv1D(WIDTH, WIDTH),
    "embedding": lambda: nn.Embedding(ROWS, WIDTH),
    "layer-norm": lambda: nn.LayerNorm(WIDTH),
    "rms-norm": lambda: RMSNorm(WIDTH),
    "tuple": lambda: Pair(WIDTH),
}


class LawsConfig(PreTrainedConfig):
    """The config of `LawsModel`."""

    model_type = "deltac-laws"
    base: str = "linear"


#: Name → the module that stands there for operators on keys and values.
ATTENTIONS: dict[str, Callable[[LawsConfig], nn.Module]] = {
    "attention": lambda config: Attention(config, WIDTH),
}


class Stack(nn.Module):
    """A stack of two residual blocks, for operators beside a whole stack."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layer = nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x: [..., width]."""
        for layer in self.layer:
            x = x + torch.tanh(layer(x))
        return x


#: The same for operators beside a stack.
STACKS: dict[str, Callable[[], nn.Module]] = {"stack": lambda: Stack(WIDTH)}


class LawsModel(PreTrainedModel):
    """Two residual blocks around one kind of base module, small enough to check every value.

    Attributes:
        changes: what a law does to the sum of a block and the residual, by the block's number.
    """

    config_class = LawsConfig
    main_input_name = "input_ids"
    _supports_sdpa = True

    def __init__(self, config: LawsConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(ROWS, WIDTH)
        attention = ATTENTIONS.get(config.base)
        make = (BASES | STACKS)[config.base] if attention is None else lambda: attention(config)
        # A stack in a stack would be no stack of its own.
        blocks = nn.Sequential if config.base in STACKS else lambda *each: nn.ModuleList(each)
        self.block = blocks(make(), make())
        self.changes: dict[int, Callable[[torch.Tensor], torch.Tensor]] = {}
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Leaves every module as its own constructor made it."""

    def forward(self, input_ids: torch.Tensor, **kwargs: Any) -> BaseModelOutput:
        """The last hidden state for token numbers; input_ids: [batch, length]."""
        x = self.embed(input_ids)
        for index, module in enumerate(self.block):
            out = module(input_ids if self.config.base == "embedding" else x)
            x = x + (out[0] + out[1] if isinstance(out, tuple) else out)
            x = self.changes[index](x) if index in self.changes else x
        return BaseModelOutput(last_hidden_state=x)


@dataclass(frozen=True)
class Case:
    """An operator with one choice of options on one kind of base module."""

    operator: type[Operator]
    base: str
    options: tuple[tuple[str, Any], ...]

    def model(self, dtype: torch.dtype = torch.float32) -> LawsModel:
        """The base, with the same random values each time."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = LawsModel(LawsConfig(base=self.base)).eval()
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn(parameter.shape) * 0.1)
        return model.to(dtype)

    def spec(self, **changes: Any) -> dict[str, Any]:
        """A spec with the operator on both blocks, or on the sequence that they read."""
        on_tokens = self.operator.site == "sequence"
        target = {"role": "embedding"} if on_tokens else {"module": "block.*"}
        delta = {
            "name": "law",
            "operator": self.operator.name,
            "target": target,
            **{name: value for name, value in with_artifacts(self).items() if value is not None},
        }
        return {"version": 1, "name": "law", "deltas": [delta], "heads": [], **changes}

    def compile(self, dtype: torch.dtype = torch.float32, **changes: Any) -> deltac.Compiled:
        """The compiled base, for the caller alone: where it was compiled before, this is a copy."""
        if changes:
            return deltac.compile(self.spec(**changes), model=self.model(dtype))
        return deltac.Compiled(copy.deepcopy(_compiled(self, dtype).model))


@functools.lru_cache(maxsize=4)
def _compiled(case: Case, dtype: torch.dtype) -> deltac.Compiled:
    """What most laws start from, kept from one law to the next."""
    return deltac.compile(case.spec(), model=case.model(dtype))
