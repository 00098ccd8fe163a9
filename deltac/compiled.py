"""A compiled model: the base, frozen, with its delta spliced in, and what can be done with it."""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from deltac.artifact.card import card
from deltac.artifact.folder import MANIFEST, check_writable, write_folder, write_into
from deltac.artifact.manifest import to_json
from deltac.artifact.tensors import describe_files, tensor_files
from deltac.diagnostics import DeltacError, Diagnostic
from deltac.penalty import Term, check_paid, penalty_of, with_penalty
from deltac.rewrite.apply import set_disabled


@dataclass
class DeltaState:
    """What a compiled model carries with it, through deepcopy and pickle.

    Attributes:
        manifest: see `deltac.artifact.manifest`.
        spec: the files of the spec, path → content, see `deltac.artifact.spec`.
        description: the spec's description, for the card.
        code: the generated code, file name → text.
        originals: the base's values of the parameters that are tuned in place.
        initial: hash of the initial values, to tell a trained delta from a new one.
        aside: the trained values of those parameters while the delta is disabled; None otherwise.
        penalties: the terms that its operators add to the training loss.
        penalty_due: whether the last forward in training returned no loss that they could enter.
    """

    manifest: dict[str, Any]
    spec: dict[str, bytes]
    description: str
    code: dict[str, bytes]
    originals: dict[str, torch.Tensor] = field(default_factory=dict)
    initial: str = ""
    aside: dict[str, torch.Tensor] | None = None
    penalties: tuple[Term, ...] = ()
    penalty_due: bool = False


class Compiled:
    """A compiled model with its manifest.

    Attributes:
        model: the rewritten model; it is an instance of the base's own class.
        checked: what loading compared with the recorded base: `structure`, and `weights` where both were known.
    """

    def __init__(self, model: nn.Module, checked: tuple[str, ...] = ()) -> None:
        """Wraps a compiled model, or a deep copy or unpickled copy of one.

        Raises:
            DeltacError: DLT706, it carries no delta.
        """
        if not isinstance(getattr(model, "delta_state", None), DeltaState):
            message = f"this {type(model).__name__} carries no delta; make one with deltac.compile"
            raise DeltacError([Diagnostic("DLT706", message)])
        self.model = model
        self.checked = checked

    @property
    def manifest(self) -> dict[str, Any]:
        """A copy of the manifest, as manifest.json holds it but for the hashes of files."""
        return copy.deepcopy(self._state.manifest)

    def parameters(self, part: str | None = None) -> dict[str, nn.Parameter]:
        """The trained parameters by name.

        Args:
            part: only those of one set: `added`, `factor`, `tuned` or `heads`; None for all. `fixed` gives the tensors
                that the delta needs and does not train.
        """
        every = self.tensors()
        rows = self._state.manifest["tensors"]
        sets = (part,) if part else ("added", "factor", "tuned", "heads")
        return {row["name"]: every[row["name"]] for row in rows if row["set"] in sets}

    def parameter_groups(
        self,
        lr: float,
        *,
        weight_decay: float = 0.0,
        tuned_lr: float | None = None,
        heads_lr: float | None = None,
    ) -> list[dict[str, Any]]:
        """Groups for a torch optimizer: delta, parameters tuned in place, heads; vectors (biases, norms) without decay.

        Args:
            lr: learning rate of the delta's own parameters, and of the others where nothing else is given.
            weight_decay: weight decay of matrices.
            tuned_lr: learning rate of the parameters tuned in place.
            heads_lr: learning rate of the heads.
        """
        rates = {"added": lr, "factor": lr, "tuned": tuned_lr, "heads": heads_lr}
        groups: dict[str, dict[str, Any]] = {}
        for part, rate in rates.items():
            for parameter in self.parameters(part).values():
                decay = weight_decay if parameter.dim() > 1 else 0.0
                label = {"added": "delta", "factor": "delta"}.get(part, part) + (
                    "" if parameter.dim() > 1 else ".vectors"
                )
                start = {
                    "params": [],
                    "lr": lr if rate is None else rate,
                    "weight_decay": decay,
                    "name": label,
                }
                groups.setdefault(label, start)["params"].append(parameter)
        return list(groups.values())

    def penalty(self) -> torch.Tensor:
        """The sum of the operators' penalties, a scalar; zero where no operator has one or the delta is disabled.

        In training it is part of the loss that the model returns. Add it to a loss that you compute yourself, after
        each forward: training without it stops with DLT816.

        Raises:
            DeltacError: DLT707, a parameter is offloaded, or flattened by another library.
        """
        self._state.penalty_due = False
        total = penalty_of(self.model, self._state.penalties)
        return torch.zeros(()) if total is None else total

    @contextmanager
    def disabled(self) -> Iterator[nn.Module]:
        """Inside, the model computes what the base does, bit for bit; trained heads stay.

        Parameters tuned in place get the base's values back for that time; the objects stay the same.

        Raises:
            DeltacError: DLT707, such a parameter is offloaded, so its values can't be exchanged here.
        """
        state = self._state
        if state.aside is not None:  # already disabled by an outer block, which restores
            yield self.model
            return
        tuned = self.parameters("tuned")
        for name, parameter in tuned.items():
            if parameter.device.type == "meta":
                message = f"{name} is tuned in place and offloaded: its values are not in the model"
                raise DeltacError(
                    [Diagnostic("DLT707", message, fix="disable it before offloading")]
                )
        state.aside = {name: parameter.data for name, parameter in tuned.items()}
        try:
            set_disabled(self.model, True)
            for name, parameter in tuned.items():
                original = state.originals[name]
                # A copy: whoever writes into the parameter in the block must not reach the original.
                parameter.data = original.to(parameter.device, parameter.dtype, copy=True)
            yield self.model
        finally:
            for name, parameter in tuned.items():
                parameter.data = state.aside[name]
            state.aside = None
            set_disabled(self.model, False)

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Writes the artifact: manifest, delta, heads, spec, code and card. The base is not written.

        Args:
            folder: where; it is replaced as a whole, in one step.
            overwrite: whether a trained delta there may be replaced.

        Raises:
            DeltacError: DLT702, DLT703, see `deltac.artifact.folder`.
        """
        folder = Path(folder)
        check_writable(folder, overwrite=overwrite)
        write_folder(folder, self.files())
        return folder

    def files(self, values: Mapping[str, torch.Tensor] | None = None) -> dict[str, bytes]:
        """The artifact's files, relative path → content.

        Args:
            values: tensors to write in place of the model's own, by name (a gathered state dict).
        """
        state = self._state
        own: dict[str, torch.Tensor] = {**self.tensors(), **(state.aside or {})}
        for name in own:
            if values is not None and name in values:
                own[name] = values[name]
        tensors = tensor_files(state.manifest, own)
        manifest = state.manifest | {
            "state": "initial" if content_of(tensors) == state.initial else "trained",
            "files": describe_files(tensors),
        }
        return {
            **tensors,
            **state.code,
            **state.spec,
            "README.md": card(manifest, state.description).encode(),
            MANIFEST: to_json(manifest).encode(),
        }

    def tensors(self) -> dict[str, nn.Parameter]:
        """Everything that the artifact holds, by name."""
        parameters = dict(self.model.named_parameters())
        return {row["name"]: parameters[row["name"]] for row in self._state.manifest["tensors"]}

    @property
    def _state(self) -> DeltaState:
        return self.model.delta_state

    def __repr__(self) -> str:
        counts = self._state.manifest["counts"]
        name, cls = self._state.manifest["name"], type(self.model).__name__
        return f"Compiled({name!r}, {cls}, delta={counts['delta']:,}, heads={counts['heads']:,})"


def content_of(files: Mapping[str, bytes]) -> str:
    """One hash of several files."""
    return hashlib.sha256(
        b"".join(name.encode() + files[name] for name in sorted(files))
    ).hexdigest()


@functools.cache
def root_class(base: type[PreTrainedModel], penalised: bool = False) -> type[PreTrainedModel]:
    """The class of a compiled model: the base's own, but `save_pretrained` writes the delta.

    Otherwise `save_pretrained` would write a base that reloads without its delta. Where operators have penalties, its
    forward adds them to the training loss.
    """

    @functools.wraps(base.forward)
    def forward(self: PreTrainedModel, *args: Any, **kwargs: Any) -> Any:
        check_paid(self)
        return with_penalty(self, base.forward(self, *args, **kwargs))

    def save_pretrained(
        self: PreTrainedModel, save_directory: str | Path, is_main_process: bool = True,
        state_dict: Mapping[str, torch.Tensor] | None = None, **kwargs: Any,
    ) -> None:  # fmt: skip
        """Writes the delta's artifact into the folder, which may hold other files. Read it with `deltac.load`."""
        if kwargs.pop("push_to_hub", False):
            message = "save_pretrained of a compiled model writes a delta; pushing it to the hub is not done here"
            raise DeltacError(
                [Diagnostic("DLT706", message, fix="save it, then upload the folder")]
            )
        if is_main_process:
            write_into(Path(save_directory), Compiled(self).files(state_dict))

    def reduce_ex(self: PreTrainedModel, protocol: Any) -> tuple:
        """The class can't be imported: it is made again from its base."""
        _, _, *state = base.__reduce_ex__(self, protocol)
        return (_new_root, (base, penalised), *state)

    members = {
        "__module__": base.__module__,
        "__qualname__": base.__qualname__,
        "__doc__": base.__doc__,
        "__reduce_ex__": reduce_ex,
        "save_pretrained": save_pretrained,
    }
    if penalised:
        # Trainer then divides the loss, penalty and all, by the accumulation steps; a model that takes the number of
        # items divides its own part alone.
        members |= {"forward": forward, "accepts_loss_kwargs": False}
    return type(base.__name__, (base,), members)


def _new_root(base: type[PreTrainedModel], penalised: bool) -> PreTrainedModel:
    cls = root_class(base, penalised)
    return cls.__new__(cls)
