"""Tensors of other artifacts that a delta starts from: found, compared and read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from deltac.artifact.folder import read_manifest
from deltac.artifact.tensors import DELTA, read_tensors
from deltac.diagnostics import DeltacError, Diagnostic
from deltac.operators._artifact_init import FromArtifact
from deltac.planning import Placement, Plan


class Artifacts:
    """The artifacts that a plan names, each read once.

    Attributes:
        read: what was read: folder → the delta's name and the hash of its file, for the manifest.
    """

    def __init__(self, plan: Plan, base: Mapping[str, Any]) -> None:
        """
        Args:
            plan: the plan.
            base: what the manifest says of the base. An artifact of the same shapes and dtypes with other weights is
                refused.
        """
        home = Path(plan.spec.document.source.name)
        self._home = home.parent if home.is_file() else Path()
        self._base = base
        self._found: dict[str, tuple[dict[str, Any], dict[str, torch.Tensor]]] = {}
        self.read: dict[str, dict[str, str]] = {}

    def tensor(
        self, placement: Placement, init: FromArtifact, shape: tuple[int, ...]
    ) -> torch.Tensor:
        """The tensor that an initialiser asks for.

        Raises:
            DeltacError: DLT701, DLT704, DLT705 (no artifact that can be read), DLT740 (it holds no such delta there).
        """
        wanted = placement.operator.loads
        manifest, values = self._open(placement, init.folder)
        every = [row for row in manifest["tensors"] if row.get("operator") == wanted]
        rows = [row for row in every if row["site"] == init.site]
        names = sorted({row["delta"] for row in rows})
        if len(names) != 1:
            has = f"several, {', '.join(names)}" if names else "none"
            places = sorted({row["site"] for row in every})
            more = f"; it has some at {', '.join(places[:3])}" if places and not names else ""
            _refuse(placement, init, f"it has {has}{more}", f"an artifact with one {wanted} there")
        self._check_options(placement, init, manifest, names[0])
        name = next(r["name"] for r in rows if r["name"].endswith(f"_{init.parameter}"))
        if tuple(values[name].shape) != shape:
            found = f"its {init.parameter} is {list(values[name].shape)}, not {list(shape)}"
            _refuse(placement, init, found, "the bottleneck that it was trained with")
        entry = manifest["files"][DELTA]
        self.read[init.folder] = {"delta": names[0], "sha256": entry["sha256"]}
        return values[name].clone()  # another delta may read the same one

    def _open(
        self, placement: Placement, folder: str
    ) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        if folder not in self._found:
            try:
                manifest = read_manifest(self._home / folder)
            except DeltacError as error:
                placed = [replace(each, span=placement.span) for each in error.diagnostics]
                raise DeltacError(placed) from error
            own, theirs = self._base, manifest["base"]
            alike = own["parameters"] == theirs["parameters"]
            if alike and own["weights"] and theirs["weights"] not in (None, own["weights"]):
                message = f"'{folder}' was trained on a base with other weights"
                fix = "name artifacts of this base"
                raise DeltacError([Diagnostic("DLT740", message, placement.span, fix=fix)])
            self._found[folder] = manifest, read_tensors(self._home / folder, manifest)
        return self._found[folder]

    def _check_options(
        self, placement: Placement, init: FromArtifact, manifest: Mapping[str, Any], delta: str
    ) -> None:
        """What the delta was trained with must be what is computed now."""
        row = next(each for each in manifest["deltas"] if each["name"] == delta)
        own = placement.operator.options()
        for part in row["parts"]:
            for key, value in part["options"].items():
                expected = own[key] if key in _SAME else _PLAIN.get(key, value)
                if value != expected:
                    fix = (
                        f"'{key}: {value}' here too"
                        if key in _SAME
                        else f"one with '{key}: {expected}'"
                    )
                    _refuse(placement, init, f"it has '{key}: {value}'", fix)


#: Options of an adapter that must be set alike where it is one of several, and those that have no counterpart there.
_SAME = ("activation", "position")
_PLAIN = {"insertion": "sequential", "scale": 1.0, "gate": False, "norm": False, "bias": True}


def _refuse(placement: Placement, init: FromArtifact, found: str, wanted: str) -> None:
    operator = placement.operator.loads
    message = f"'{init.folder}' gives no {operator} for {init.site}: {found}"
    raise DeltacError([Diagnostic("DLT740", message, placement.span, fix=f"name {wanted}")])
