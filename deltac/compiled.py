"""A compiled model: the base, frozen, with its delta spliced in, and what can be done with it."""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from deltac.artifact.base import check_unchanged, saved_of
from deltac.artifact.card import card
from deltac.artifact.folder import MANIFEST, check_writable, write_folder
from deltac.artifact.manifest import added_names, to_json
from deltac.artifact.tensors import describe_files, tensor_files
from deltac.diagnostics import DeltacError, DeltacWarning, Diagnostic, Problems
from deltac.model.fold import shown
from deltac.model.hooks import hooks_aside
from deltac.penalty import penalty_of
from deltac.rewrite.apply import constants_kept
from deltac.rewrite.fold import evaluate
from deltac.rewrite.plain import plain_copy
from deltac.state import DeltaState, showing, tensors
from deltac.tasks import set_task

_SETS = ("added", "factor", "tuned", "heads")


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

        Raises:
            DeltacError: DLT835.
        """
        if part not in (None, *_SETS, "fixed"):
            message = f"there is no set {part!r} of parameters"
            raise DeltacError.of("DLT835", message, fix=f"the sets: {', '.join(_SETS)}, fixed")
        every = self.tensors()
        rows = self._state.manifest["tensors"]
        sets = (part,) if part else _SETS
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
    def disabled(self, *deltas: str) -> Iterator[nn.Module]:
        """Inside, the model computes what the base does, bit for bit; trained heads stay.

        Parameters tuned in place get the base's values back for that time; the objects stay the same.

        Args:
            deltas: names of the deltas to switch off, where not all are meant. Blocks of this kind add up: in one
                inside of another, the deltas of both are off.

        Raises:
            DeltacError: DLT707, such a parameter is offloaded, so its values can't be exchanged here, or single deltas
                of a wrapped model were named; DLT737, there is no delta of that name.
        """
        what = self._state.shown
        off = self._state.off | set(deltas) if what == "delta" else frozenset(deltas)
        with showing(self.model, "delta" if deltas else "base", off if deltas else frozenset()):
            yield self.model

    def set_task(self, task: str) -> None:
        """Makes a task the active one, for deltas that have several (`hyperformer`). The artifact keeps which it is.

        Raises:
            DeltacError: DLT738, no delta has a task of that name.
        """
        set_task(self.model, task)

    @contextmanager
    def inference(self) -> Iterator[nn.Module]:
        """Inside, there are no gradients, and what depends on the delta's parameters alone is computed once.

        For forward passes one after the other, such as a decoding loop of one's own; `generate` does so itself. The
        delta's parameters must not be changed inside: the change would not be seen.
        """
        with torch.no_grad(), constants_kept(self.model):
            yield self.model

    @contextmanager
    def merged(self) -> Iterator[nn.Module]:
        """Inside, the model computes with merged weights, through the base's own code; nothing merged is trained there.

        The merged weights stand in the places of the base's own, which come back on leaving, the same objects with the
        same values. Of nested blocks of this kind and of `disabled()` the innermost holds.

        Raises:
            DeltacError: DLT731, some delta can't be merged; DLT707, the values are offloaded or sharded.
        """
        self.check_mergeable("merged() shows all deltas merged or none")
        with showing(self.model, "merged"):
            yield self.model

    def merge(self) -> PreTrainedModel:
        """A new plain model with the delta in its weights: the base's own classes and names, nothing of deltac.

        It has a config of its own, and `save_pretrained` writes it whole. This compiled model stays as it is. All that
        changes one weight is computed in the widest dtype among its tensors, float32 at least, and cast once.

        Warns:
            DeltacWarning: DLT732, weights that were one tensor differ now, so they are tied no more.

        Raises:
            DeltacError: DLT731, some delta can't be merged (`deltac.merge_partly` merges the others); DLT733, the
                model's class ties what would differ; DLT707, the values are offloaded or sharded.
        """
        self.check_mergeable("merge what can be merged: deltac.merge_partly, or --partial")
        merged, notes = self.merge_without(())
        for note in notes:
            warnings.warn(f"{note.code}: {note.message}", DeltacWarning, stacklevel=2)
        return merged

    def unmergeable(self) -> dict[str, list[str]]:
        """The deltas that can't be merged, each with the reasons and where they hold; what could only be merged with
        them is listed too."""
        return {
            delta: [f"{shown(sites)}: {reason}" for reason, sites in reasons.items()]
            for delta, reasons in self._state.fold.staying().items()
        }

    def merge_without(self, deltas: Iterable[str]) -> tuple[PreTrainedModel, list[Diagnostic]]:
        """As `merge`, without some deltas: they leave no trace. Also gives the notes that `merge` warns of."""
        state, left = self._state, set(deltas)
        fold = state.fold
        stay = {name for delta in left for name in fold.tuned.get(delta, ())}
        added = added_names(state.manifest)
        with showing(self.model, "delta"), hooks_aside(self.model):
            changes = [change for change in fold.changes if change.delta not in left]
            changed = evaluate(changes, tensors(self.model))
            kept = {name: state.originals[name] for name in stay}
            return plain_copy(self.model, added, kept, changed)

    def save(self, folder: str | Path, *, overwrite: bool = False, resumable: bool = False) -> Path:
        """Writes the artifact: manifest, delta, heads, spec, code and card. The base is not written.

        What only training needs is left out: of a network that makes a prefix, the prefix is saved.

        Args:
            folder: where; it is replaced as a whole, in one step.
            overwrite: whether a trained delta there may be replaced.
            resumable: whether what only training needs is kept, so that training can go on from the artifact.

        Warns:
            DeltacWarning: DLT742, DLT743, the model was unfrozen or cast after compiling.

        Raises:
            DeltacError: DLT702, DLT703, see `deltac.artifact.folder`; DLT741, the base has other shapes by now.
        """
        folder = Path(folder)
        check_writable(folder, overwrite=overwrite)
        write_folder(folder, self.files(resumable=resumable))
        return folder

    def files(
        self, values: Mapping[str, torch.Tensor] | None = None, *, resumable: bool = False
    ) -> dict[str, bytes]:
        """The artifact's files, relative path → content.

        Args:
            values: tensors to write in place of the model's own, by name (a gathered state dict).
            resumable: as for `save`.
        """
        state = self._state
        at_hand = dict(self.model.named_parameters()) if values is None else values
        for each in check_unchanged(at_hand, state.manifest):
            warnings.warn(str(each), DeltacWarning, stacklevel=3)
        own: dict[str, torch.Tensor] = {**self.tensors(), **state.aside}
        for name in own:
            if values is not None and name in values:
                own[name] = values[name]
        tensors, manifest, code = tensor_files(state.manifest, own), state.manifest, state.code
        word = "initial" if content_of(tensors) == state.initial else "trained"
        if state.saved is not None and not resumable:
            manifest, code = state.saved.manifest_from(manifest), state.saved.code
            tensors = tensor_files(manifest, state.saved.values(own))
        manifest = manifest | {"state": word, "files": describe_files(tensors)}
        return {
            **tensors,
            **code,
            **state.spec,
            "README.md": card(manifest, state.description).encode(),
            MANIFEST: to_json(manifest).encode(),
        }

    @property
    def is_trained(self) -> bool:
        """Whether some tensor differs from its initial value."""
        return json.loads(self.files()[MANIFEST])["state"] == "trained"

    def tensors(self) -> dict[str, nn.Parameter]:
        """Everything that the artifact holds, by name."""
        return saved_of(dict(self.model.named_parameters()), self._state.manifest)

    def check_mergeable(self, fix: str) -> None:
        """Raises DLT731, once for each delta and reason, where some delta can't be merged; `fix` if others can."""
        problems = Problems()
        some = set(self._state.fold.deltas) - self._state.fold.staying().keys()
        for delta, reasons in self._state.fold.blocked.items():
            for reason, sites in reasons.items():
                message = f"'{delta}' can't be merged at {shown(sites)}: {reason}"
                problems.add("DLT731", message, fix=fix if some else "keep it beside its base")
        problems.raise_if_any()

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
