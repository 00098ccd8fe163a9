"""Is this the base that the delta was made for? One code for each kind of difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deltac.diagnostics import DeltacError, Diagnostic, Problems
from deltac.model.fold import shown, unfold


def saved_of(parameters: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a manifest lists.

    Raises:
        DeltacError: DLT741, one has another name by now.
    """
    names = [row["name"] for row in manifest["tensors"]]
    if missing := [name for name in names if name not in parameters]:
        message = f"the model has no {shown(missing, 3)} any more: modules were replaced or wrapped"
        fix = "take off what another library put into the model, such as an adapter of PEFT"
        raise DeltacError.of("DLT741", message, fix=fix)
    return {name: parameters[name] for name in names}


def check_unchanged(parameters: Mapping[str, Any], manifest: Mapping[str, Any]) -> list[Diagnostic]:
    """Checks before saving that the model is still what the manifest describes, as far as is seen at once.

    Args:
        parameters: the model's parameters by name, those that are at hand.
        manifest: the manifest that is saved.

    Returns:
        Warnings: DLT742, parameters of the base are trained that no one saves; DLT743, the delta was cast.

    Raises:
        DeltacError: DLT741, a matrix of the base has another shape.
    """
    problems, unfrozen = Problems(), []
    saved = {row["name"] for row in manifest["tensors"]}
    forms = _forms(manifest["base"])
    packed = manifest["base"].get("quantization")  # the plan's shapes are those of the values
    for name in forms.keys() & parameters.keys():
        parameter, shape = parameters[name], forms[name][1]
        size = str(list(parameter.shape))
        # A shard of a matrix is a vector, or empty.
        whole = size.count(",") == shape.count(",") > 0 and parameter.numel()
        if whole and not packed and size != shape:
            message = f"{name} is {size}; when the model was compiled, it was {shape}"
            fix = "change the base before compiling, as with resize_token_embeddings"
            problems.add("DLT741", message, fix=fix)
        if parameter.requires_grad and name not in saved:
            unfrozen.append(name)
    if unfrozen:
        message = f"the base's {shown(sorted(unfrozen))} would be trained, and isn't saved"
        fix = "freeze what was unfrozen, or train it by `operator: tune` or `heads`"
        problems.add("DLT742", message, fix=fix)
    cast = {
        (str(parameters[row["name"]].dtype).removeprefix("torch."), row["dtype"])
        for row in manifest["tensors"]
        if row["name"] in parameters and parameters[row["name"]].is_floating_point()
    }
    for found, wanted in sorted(each for each in cast if each[0] != each[1]):
        message = (
            f"the model was cast after compiling: what is {found} was {wanted}, and is saved so"
        )
        fix = (
            "for another dtype of the base write `model: {dtype: ...}`, of the delta `dtype: base`"
        )
        problems.add("DLT743", message, fix=fix)
    problems.raise_if_any()
    return list(problems)


def check_base(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Compares the base of a manifest with the base at hand.

    Args:
        recorded: `base` of the manifest.
        found: the same for the model to load into, see `describe_base`.

    Raises:
        DeltacError: DLT711 to DLT718; the first kind of difference only, for the others follow from it.
    """
    problems = Problems()
    if recorded["class"] != found["class"]:
        problems.add(
            "DLT711", f"the delta was made for {recorded['class']}, this is a {found['class']}"
        )
        problems.raise_if_any()
    if recorded["stacks"].keys() == found["stacks"].keys():
        for stack, number in recorded["stacks"].items():
            if found["stacks"][stack] != number:
                problems.add(
                    "DLT712",
                    f"{stack}: the delta was made for {number} blocks, this base has {found['stacks'][stack]}",
                )
        problems.raise_if_any()
    before, after = _forms(recorded), _forms(found)
    if before.keys() != after.keys():
        gone, new = sorted(before.keys() - after.keys()), sorted(after.keys() - before.keys())
        parts = [
            f"missing {', '.join(gone[:3])}" if gone else "",
            f"unknown {', '.join(new[:3])}" if new else "",
        ]
        problems.add(
            "DLT715",
            f"the base's parameters have other names: {'; '.join(part for part in parts if part)}",
        )
        problems.raise_if_any()
    for code, index, what in (("DLT713", 1, "shape"), ("DLT717", 0, "dtype")):
        other = [name for name in before if before[name][index] != after[name][index]]
        if other:
            name = other[0]
            more = f" ({len(other)} parameters differ)" if len(other) > 1 else ""
            problems.add(
                code,
                f"{name}: the delta was made for {what} {before[name][index]}, "
                f"this base has {after[name][index]}{more}",
            )
            problems.raise_if_any()
    _check_config(recorded["config"], found["config"], "", problems)
    problems.raise_if_any()
    before, after = recorded.get("quantization") or {}, found.get("quantization") or {}
    differs = any(before[key] != after[key] for key in before.keys() & after.keys())
    if differs or bool(before) != bool(after):
        message = (
            f"the delta was made for a base {quantized(before)}, this one is {quantized(after)}"
        )
        problems.add("DLT718", message, fix="load the base with the quantization of the delta")
    problems.raise_if_any()
    if recorded["weights"] and found["weights"] and recorded["weights"] != found["weights"]:
        fix = "use the checkpoint that the delta was trained on"
        problems.add(
            "DLT716",
            "the base has the right structure, but other weights than the delta was made for",
            fix=fix,
        )
    problems.raise_if_any()


def quantized(quantization: Mapping[str, Any] | None) -> str:
    """What a manifest says of a base's quantization, in words."""
    if not quantization:
        return "not quantized"
    order = ("method", "bits", "type", "double_quant", "kept_as")
    values = {key: quantization[key] for key in order if quantization.get(key)}
    return "quantized: " + ", ".join(f"{key} {_plain(value)}" for key, value in values.items())


def _plain(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value).lower()


def _check_config(
    recorded: Mapping[str, Any], found: Mapping[str, Any], prefix: str, problems: Problems
) -> None:
    # A setting that only one side knows comes from another version of transformers, not from another base.
    for key in sorted(recorded.keys() & found.keys()):
        before, after = recorded[key], found[key]
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            _check_config(before, after, f"{prefix}{key}.", problems)
        elif before != after:
            problems.add(
                "DLT714", f"{prefix}{key}: the delta was made for {before}, this base has {after}"
            )


def _forms(base: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Parameter name → (dtype, shape)."""
    forms = {}
    for folded, form in base["parameters"].items():
        dtype, _, shape = form.partition("[")
        for name in unfold(folded):
            forms[name] = (dtype, f"[{shape}")
    return forms
