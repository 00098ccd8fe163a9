"""The tensors of an artifact as bytes: delta.safetensors and heads.safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save

from deltac.diagnostics import DeltacError, Diagnostic, Problems
from deltac.model.fold import fold

DELTA, HEADS = "delta.safetensors", "heads.safetensors"


def tensor_files(
    manifest: Mapping[str, Any], values: Mapping[str, torch.Tensor]
) -> dict[str, bytes]:
    """The files for the tensors that the manifest lists, in the dtypes that it lists.

    Raises:
        DeltacError: DLT707, a value is not in memory.
    """
    parts: dict[str, dict[str, torch.Tensor]] = {DELTA: {}, HEADS: {}}
    for row in manifest["tensors"]:
        file = HEADS if row["set"] == "heads" else DELTA
        value = values[row["name"]].detach()
        if value.device.type == "meta":
            message = f"{row['name']} is offloaded: its values are not in the model"
            fix = "save before offloading, or take the offloading hooks off first"
            raise DeltacError([Diagnostic("DLT707", message, fix=fix)])
        if value.is_floating_point():
            # A model that was cast after compiling must load again all the same.
            value = value.to(getattr(torch, row["dtype"]))
        parts[file][row["name"]] = value.to("cpu").contiguous()
    # One metadata key at most: the order of several is not fixed, and the bytes must be.
    return {
        file: save(tensors, {"format": "pt"})
        for file, tensors in parts.items()
        if tensors or file == DELTA
    }


def describe_files(files: Mapping[str, bytes]) -> dict[str, Any]:
    """Size and hash of each file, for the manifest."""
    return {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in files.items()
    }


def read_tensors(folder: Path, manifest: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Every tensor of an artifact.

    Raises:
        DeltacError: DLT701 (unreadable), DLT721 (names), DLT722 (shape or dtype).
    """
    values: dict[str, torch.Tensor] = {}
    for name in (DELTA, HEADS):
        if name in manifest["files"]:
            try:
                values |= load_file(folder / name)
            except (OSError, safetensors.SafetensorError) as error:
                raise DeltacError(
                    [Diagnostic("DLT701", f"{name} can't be read: {error}")]
                ) from None
    return values


def check_tensors(expected: list[Mapping[str, Any]], values: Mapping[str, torch.Tensor]) -> None:
    """Compares tensors with what the spec plans on this base.

    Raises:
        DeltacError: DLT721 (names), DLT722 (shape or dtype).
    """
    problems = Problems()
    names = {row["name"] for row in expected}
    if missing := sorted(names - set(values)):
        problems.add("DLT721", f"the file lacks {', '.join(fold(missing)[:6])}")
    if unknown := sorted(set(values) - names):
        problems.add(
            "DLT721",
            f"the file holds tensors that the spec doesn't ask for: {', '.join(fold(unknown)[:6])}",
        )
    for row in expected:
        value = values.get(row["name"])
        if value is not None:
            found = f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
            wanted = f"{row['dtype']}{row['shape']}"
            if found != wanted:
                problems.add(
                    "DLT722", f"{row['name']}: the file has {found}, the spec asks for {wanted}"
                )
    problems.raise_if_any()
