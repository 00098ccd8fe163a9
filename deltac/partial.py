"""Merging a part of a compiled model: what can be merged becomes its base, and the rest stays a delta on it."""

from __future__ import annotations

import warnings
from typing import Any

from transformers import PreTrainedModel

from deltac.api import compile_prepared
from deltac.artifact.manifest import ejected_deltas, make_manifest
from deltac.artifact.tensors import check_tensors
from deltac.compiled import Compiled
from deltac.diagnostics import DeltacError, DeltacWarning, Diagnostic
from deltac.prepare import prepare
from deltac.spec import load_spec
from deltac.state import showing


def merge_partly(compiled: Compiled, *, source: str | None = None) -> Compiled:
    """Merges what can be merged and compiles the rest on the merged base. The compiled model stays as it is.

    `compiled.unmergeable()` says which deltas stay, and why. They keep their names and values; so do the heads.

    Args:
        compiled: a compiled model.
        source: where the merged base will lie, for the spec of the rest. Without it that spec names no base.

    Returns:
        The rest on its new base, whose fingerprint its manifest holds. It has no delta where all were merged.

    Warns:
        UserWarning: DLT732, see `Compiled.merge`.

    Raises:
        DeltacError: DLT731, no delta can be merged; DLT733 and DLT707, see `Compiled.merge`.
    """
    base, notes = merged_base(compiled)
    for note in notes:
        warnings.warn(f"{note.code}: {note.message}", DeltacWarning, stacklevel=2)
    return rest_on(base, compiled, source)


def merged_base(compiled: Compiled) -> tuple[PreTrainedModel, list[Diagnostic]]:
    """A plain model that holds what can be merged, with the notes on it.

    Raises:
        DeltacError: DLT731, DLT733, DLT707, see `merge_partly`.
    """
    stay = compiled.unmergeable()
    names = [delta["name"] for delta in compiled.manifest["deltas"]]
    if names and set(names) == set(stay):
        problems = [
            Diagnostic("DLT731", f"'{delta}' can't be merged at {reason}")
            for delta, reasons in stay.items()
            for reason in reasons
        ]
        raise DeltacError(problems)
    return compiled.merge_without(stay)


def rest_on(base: PreTrainedModel, compiled: Compiled, source: str | None = None) -> Compiled:
    """The deltas that can't be merged, compiled on the merged base, which is rewritten in place; see `merge_partly`."""
    prepared = prepare(_spec_of_rest(compiled, source), base)
    prepared = prepared.ejected(ejected_deltas(compiled.manifest))
    with showing(compiled.model, "delta"):
        values = {name: tensor.detach().clone() for name, tensor in compiled.tensors().items()}
    rows = make_manifest(prepared.plan, prepared.origin)["tensors"]
    values = {row["name"]: values[row["name"]] for row in rows if row["name"] in values}
    check_tensors(rows, values)
    rest = compile_prepared(prepared, base, values)
    if compiled.is_trained:
        rest.model.delta_state.initial = ""
    return rest


def _spec_of_rest(compiled: Compiled, source: str | None) -> dict[str, Any]:
    """The spec without what is merged, and with its own base."""
    manifest, stay = compiled.manifest, compiled.unmergeable()
    text = compiled.model.delta_state.spec[manifest["spec"]["file"]].decode()
    spec = load_spec(text + "\n")
    data = {
        key: value
        for key, value in spec.document.data.items()
        if key not in ("model", "extends", "vars") and not key.startswith("x-")
    }
    data["name"] = manifest["name"]
    data["heads"] = manifest["sets"]["heads"]
    named = zip(spec.deltas, data["deltas"], strict=True)
    data["deltas"] = [written for delta, written in named if delta.name in stay]
    if source is not None:
        data["model"] = {"source": source, "class": manifest["base"]["class"]}
    return data
