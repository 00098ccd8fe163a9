"""Whether a spec's model can be looked at on this machine alone. Imports no torch, asks no network, runs no code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from deltac.diagnostics import DeltacError
from deltac.model.source import Origin, resolve
from deltac.spec import ModelSpec, Spec


@dataclass(frozen=True)
class Reach:
    """What is here of a spec's model.

    Attributes:
        reason: why its config can't be read here; None where it can.
        facts: what the checks against the model depend on beside the spec: the config's text, and the names, sizes
            and times of the checkpoint's files.
    """

    reason: str | None = None
    facts: tuple[str, ...] = ()


def reach(spec: Spec, base: Path) -> Reach:
    """What is here of the model that a spec names.

    Args:
        spec: the spec.
        base: the folder that its relative paths start from.

    Raises:
        DeltacError: DLT251, DLT803: the spec is at fault.
    """
    model = spec.model
    if model is None:
        return Reach("the spec has no 'model' section")
    if model.config_file is not None:
        # Where it can't be read, the check itself says so.
        origin = _resolved(spec, model, base)
        return Reach(facts=(_text(base / model.config_file), *_checkpoint(origin)))
    try:
        origin = resolve(model.source, model.revision, base, spec.span((*model.path, "source")))
    except DeltacError as error:
        if {each.code for each in error.diagnostics} <= {"DLT802", "DLT804"}:
            return Reach(error.diagnostics[0].message)
        raise
    if origin.kind == "config":
        return Reach()
    if origin.folder is None:
        return _in_hub_cache(origin)
    if not (origin.folder / "config.json").is_file():
        return Reach(f"'{origin.label}' holds no config.json")
    return Reach(facts=(_text(origin.folder / "config.json"), *_checkpoint(origin)))


def _in_hub_cache(origin: Origin) -> Reach:
    try:
        # Comes with transformers. The constants are quick to import, the rest takes a tenth of a second.
        from huggingface_hub.constants import HF_HUB_CACHE
    except ImportError:
        return Reach("huggingface_hub is not installed")
    if (Path(HF_HUB_CACHE) / f"models--{origin.name.replace('/', '--')}").is_dir():
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(origin.name, "config.json", revision=origin.revision)
        if isinstance(found, str):
            return Reach(facts=(_text(Path(found)),))
    at = f" at revision '{origin.revision}'" if origin.revision else ""
    return Reach(f"the config of '{origin.name}'{at} is not in the hub's cache")


def _resolved(spec: Spec, model: ModelSpec, base: Path) -> Origin | None:
    try:
        return resolve(model.source, model.revision, base, spec.span((*model.path, "source")))
    except DeltacError:
        return None


def _checkpoint(origin: Origin | None) -> list[str]:
    folder = origin.folder if origin else None
    files = sorted(folder.glob("*.safetensors*")) if folder else []
    stats = [(file.name, file.stat()) for file in files]
    return [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    except (OSError, ValueError):
        return ""
