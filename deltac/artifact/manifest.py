"""The manifest: ΔΘ as the paper defines it, with every tensor, every count and the base that it belongs to."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import PreTrainedConfig

import deltac
from deltac.artifact.spec import spec_section
from deltac.model.fold import fold, fold_values
from deltac.model.graph import ModelGraph
from deltac.model.opaque import opaque_paths
from deltac.model.quantization import described
from deltac.model.role_places import site_role
from deltac.model.source import Origin
from deltac.operators._init import describe
from deltac.planning import Placement, Plan

#: Version of the manifest's layout.
FORMAT = 1

#: Settings that name things or change what is returned, not what is computed.
_META = {
    "_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "id2label", "label2id",
    "use_cache", "output_attentions", "output_hidden_states", "return_dict", "problem_type",
    "gradient_checkpointing", "_attn_implementation", "attn_implementation", "tokenizer_class", "name_or_path",
    "quantization_config",
}  # fmt: skip


def make_manifest(plan: Plan, origin: Origin) -> dict[str, Any]:
    """The manifest of a plan, before any value is known. Sorted; no time, no path of a machine."""
    spec, counts = plan.spec, plan.counts
    return {
        "format": FORMAT,
        "name": spec.name,
        "made_with": {
            "deltac": deltac.__version__,
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
        },
        "spec": spec_section(spec),
        "base": describe_base(plan.graph, origin, [head.name for head in plan.heads]),
        "operators": _operators(plan),
        "deltas": _deltas(plan),
        "sets": _sets(plan),
        "counts": {
            "base": counts.base,
            "delta": counts.delta,
            "added": counts.added,
            "tuned_in_place": counts.tuned,
            "factors": counts.factors,
            "fixed": counts.fixed,
            "heads": counts.heads,
            "delta_bytes": counts.bytes,
            "percent_of_base": round(100 * counts.of_base, 6),
            "percent_of_base_and_added": round(100 * counts.of_total, 6),
        },
        "tensors": _tensors(plan),
    }


def describe_base(graph: ModelGraph, origin: Origin, heads: list[str]) -> dict[str, Any]:
    """What makes the base this base: class, config, and every parameter's name, shape and dtype."""
    forms = {
        name: f"{info.dtype}{list(info.shape)}"
        for name, info in graph.parameters.items()
        if name not in heads
    }
    base: dict[str, Any] = {
        "source": origin.label or None,
        "revision": origin.revision,
        "class": graph.class_name,
        "config": canonical_config(graph.config),
        "num_labels": graph.config.num_labels,
        "stacks": dict(graph.stacks),
        "parameters": {name: str(form) for name, form in fold_values(forms)},
        "tied": {alias: graph.tied[alias] for alias in sorted(graph.tied)},
    }
    structure = {key: base[key] for key in ("class", "config", "parameters", "tied")}
    if opaque := opaque_paths(graph.model):
        forms = {graph.model.get_submodule(path).delta_opaque for path in opaque}
        base["quantization"] = described(graph.config) or {"kept_as": sorted(forms)}
        structure["quantization"] = base["quantization"]
    base["structure"] = _digest(structure)
    base["weights"] = None
    return base


def canonical_config(config: PreTrainedConfig) -> dict[str, Any]:
    """The settings of a config that change what the model computes, as plain JSON values with sorted keys."""
    return _without_meta(json.loads(json.dumps(config.to_dict(), sort_keys=True, default=str)))


def added_names(manifest: Mapping[str, Any]) -> list[str]:
    """The names of the tensors that the base does not have."""
    sets = ("added", "factor", "fixed")
    return [row["name"] for row in manifest["tensors"] if row["set"] in sets]


def fresh_heads(manifest: Mapping[str, Any]) -> set[str]:
    """The names of the heads' parameters that the base checkpoint lacked."""
    rows = manifest["tensors"]
    return {row["name"] for row in rows if row["set"] == "heads" and row["init"] == "model"}


def ejected_deltas(manifest: Mapping[str, Any]) -> list[str]:
    """The names of the deltas that a manifest holds as they are saved for use."""
    return [delta["name"] for delta in manifest["deltas"] if delta.get("ejected")]


def to_json(manifest: dict[str, Any]) -> str:
    """The text of manifest.json."""
    return json.dumps(manifest, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def _without_meta(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_meta(item) for key, item in value.items() if key not in _META}
    return value


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _operators(plan: Plan) -> dict[str, Any]:
    found = {}
    for placement in plan.placements:
        entry, operator = placement.registered, placement.operator
        found[operator.name] = {
            "package": entry.package,
            "version": entry.version,
            "source_sha256": entry.source_sha256,
            "family": operator.family,
            "paper": operator.paper.url,
        }
    return found


def _deltas(plan: Plan) -> list[dict[str, Any]]:
    rows = []
    for delta in plan.spec.deltas:
        groups: dict[str, dict[str, Any]] = {}
        for placement in plan.placements:
            if placement.delta is delta:
                options = placement.operator.options()
                group = groups.setdefault(
                    json.dumps(options, sort_keys=True), {"options": options, "sites": {}}
                )
                group["sites"][placement.site.path] = site_role(plan.graph, placement.site)
        parts = [
            {"options": group["options"], "sites": fold(group["sites"]), "roles": _roles(group)}
            for group in groups.values()
        ]
        identity = sorted(
            {
                placement.operator.identity
                for placement in plan.placements
                if placement.delta is delta
            }
        )
        rows.append(
            {
                "name": delta.name,
                "operator": delta.operator,
                "identity_at_start": identity,
                "parts": parts,
                # Told where it is so: what is saved for use is no longer what the spec trains.
                **({"ejected": True} if delta.name in plan.ejected else {}),
            }
        )
    return rows


def _roles(group: dict[str, Any]) -> dict[str, str]:
    """Folded sites → what they do in the model, where the run shows it."""
    return {site: str(role) for site, role in fold_values(group["sites"]) if role}


def _sets(plan: Plan) -> dict[str, Any]:
    added, reparameterized = [], {}
    for placement in plan.placements:
        names = [
            placement.full_name(name) for name, new in placement.every.items() if new.trainable
        ]
        if placement.site.kind == "weight":
            reparameterized.setdefault(placement.site.tensor, []).extend(names)
        else:
            added += names
    fixed = [name for name, *_, new in plan.added() if not new.trainable]
    tuned, heads = plan.tuned(), [head.name for head in plan.heads]
    frozen = [name for name in plan.graph.parameters if name not in tuned and name not in heads]
    return {
        "added": sorted(added),
        "tuned_in_place": sorted(tuned),
        "reparameterized": {
            weight: sorted(names) for weight, names in sorted(reparameterized.items())
        },
        "fixed": sorted(fixed),
        "frozen": fold(frozen),
        "heads": sorted(heads),
    }


def _tensors(plan: Plan) -> list[dict[str, Any]]:
    rows = []
    for name, placement, _own, new in plan.added():
        part = "factor" if placement.site.kind == "weight" else "added"
        part, dtype = part if new.trainable else "fixed", placement.dtype_of(new)
        rows.append(_row(plan, name, list(new.shape), dtype, describe(new.init), part, placement))
    for name, placement in plan.tuned().items():
        info = plan.graph.parameters[name]
        rows.append(_row(plan, name, list(info.shape), info.dtype, "base", "tuned", placement))
    for head in plan.heads:
        init = "model" if head.fresh else "base"
        rows.append(
            {
                "name": head.name,
                "shape": list(head.info.shape),
                "dtype": head.info.dtype,
                "init": init,
                "set": "heads",
            }
        )
    return sorted(rows, key=lambda row: row["name"])


def _row(
    plan: Plan,
    name: str,
    shape: list[int],
    dtype: str,
    init: str,
    part: str,
    placement: Placement,
) -> dict[str, Any]:
    return {
        "name": name,
        "shape": shape,
        "dtype": dtype,
        "init": init,
        "set": part,
        "delta": placement.delta.name,
        "operator": placement.delta.operator,
        "site": placement.site.path,
        "kind": placement.site.kind,
        "span": plan.spec.document.where(placement.span),
    }
