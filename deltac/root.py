"""The classes of a compiled model's root and of the models inside: what `save_pretrained` means for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from deltac.artifact.folder import write_into
from deltac.compiled import Compiled
from deltac.diagnostics import DeltacError, Diagnostic
from deltac.penalty import check_paid, with_penalty
from deltac.prompt import prompt_members
from deltac.prompted import members as prompted_members
from deltac.rewrite.apply import constants_kept
from deltac.rewrite.region import region_class
from deltac.state import show


@functools.cache
def root_class(
    base: type[PreTrainedModel],
    penalised: bool = False,
    prompted: tuple[str, ...] = (),
    asked: bool = False,
) -> type[PreTrainedModel]:
    """The class of a compiled model: the base's own, but `save_pretrained` writes the delta.

    Otherwise `save_pretrained` would write a base that reloads without its delta. Where operators have penalties, its
    forward adds them to the training loss. `prompted` are the paths of the stacks with pseudo tokens. `asked` says
    that an operator asks which tokens are a prompt.
    """
    around = prompted_members(base, prompted) if prompted else {}
    if asked:
        around |= prompt_members(base, around.get("forward", base.forward))
    run = around.get("forward", base.forward)

    @functools.wraps(base.forward)
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        check_paid(self)
        return with_penalty(self, run(self, *args, **kwargs))

    def save_pretrained(
        self: PreTrainedModel, save_directory: str | Path, is_main_process: bool = True,
        state_dict: Mapping[str, torch.Tensor] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Writes the delta's artifact into the folder, which may hold other files. Read it with `deltac.load`.

        What only training needs is left out, as `Compiled.save` does, but in the checkpoints of `DeltaTrainer`.
        """
        if kwargs.pop("push_to_hub", False):
            message = "save_pretrained of a compiled model writes a delta, and pushes nothing"
            fix = "save it, then upload the folder: huggingface_hub.upload_folder"
            raise DeltacError.of("DLT744", message, fix=fix)
        if is_main_process:
            resumable = self.delta_state.resumable
            files = Compiled(self).files(state_dict, resumable=resumable)
            write_into(Path(save_directory), files)

    def generate(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        """The base's own, with what depends on the delta's parameters alone computed once for all tokens."""
        with constants_kept(self):
            return base.generate(self, *args, **kwargs)

    def reduce_ex(self: PreTrainedModel, protocol: Any) -> tuple:
        """The class can't be imported: it is made again from its base."""
        _, made, *state = base.__reduce_ex__(self, protocol)
        # The root may be a region itself, whose class can't be imported either.
        start = made if "delta_region" in vars(base) else (base,)
        return (_new_root, (start, penalised, prompted, asked), *state)

    def setstate(self: PreTrainedModel, state: dict[str, Any]) -> None:
        """A copy shows its delta, also one that was made while the model showed something else."""
        base.__setstate__(self, state)
        if "delta_state" in vars(self):  # not in the skeleton that deltac/detach.py makes
            show(self, "delta")

    members = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__reduce_ex__": reduce_ex,
        "__setstate__": setstate,
        # How the same is made of another class, see deltac/detach.py.
        "delta_root": functools.partial(
            root_class, penalised=penalised, prompted=prompted, asked=asked
        ),
        "save_pretrained": save_pretrained,
        **around,
    }
    if hasattr(base, "generate"):
        members["generate"] = functools.wraps(base.generate)(generate)
    if penalised:
        # Trainer then divides the loss, penalty and all, by the accumulation steps; a model that takes the number of
        # items divides its own part alone.
        members |= {"forward": forward, "accepts_loss_kwargs": False}
    return type(base.__name__, (base,), members)


def _new_root(
    start: tuple, penalised: bool, prompted: tuple[str, ...], asked: bool
) -> PreTrainedModel:
    base = start[0] if len(start) == 1 else region_class(*start)
    cls = root_class(base, penalised, prompted, asked)
    return cls.__new__(cls)


def seal_inner_models(model: PreTrainedModel) -> list[Callable[[], None]]:
    """Makes the models inside of a compiled one refuse `save_pretrained`. Returns the steps that take it back.

    An attribute of the object, not a class of its own: an inner model may be rewritten itself.
    """
    inner = [m for m in model.modules() if m is not model and isinstance(m, PreTrainedModel)]
    for module in inner:
        module.save_pretrained = _refuse_to_save
    return [functools.partial(vars(module).pop, "save_pretrained", None) for module in inner]


def _refuse_to_save(*args: Any, **kwargs: Any) -> None:
    """Stands in the place of `save_pretrained` of a model inside of a compiled one. Raises DLT734."""
    message = "this model is a part of a compiled one: what it would write loads without its delta"
    fix = "save the whole with compiled.save, or take the part of compiled.merge()"
    raise DeltacError([Diagnostic("DLT734", message, fix=fix)])
