"""What a spec does, as plain facts: its text and, where the model could be reached, its manifest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from deltac.model.fold import unfold
from deltac.spec import Spec


@dataclass(frozen=True)
class Place:
    """One operator at one site.

    Attributes:
        site: the site's path.
        module: the module that owns it.
        options: the operator's options there, defaults and overrides included.
        forms: the parameter's own name (empty where the site itself is tuned) → such as `float32[8, 384]`.
        tensors: full name of each tensor that a saved delta holds for it → its form.
        role: what the module does in the model, such as `attention.query`; empty where that isn't known.
    """

    site: str
    module: str
    options: Mapping[str, Any]
    forms: Mapping[str, str]
    tensors: Mapping[str, str]
    role: str = ""

    @property
    def parameters(self) -> int:
        """How many elements the delta trains here."""
        return sum(_size(form) for form in self.forms.values())


@dataclass(frozen=True)
class DeltaFacts:
    """One delta of a plan: its operator and its places in the model's order, by site.

    `position` is its number in the spec.
    """

    name: str
    operator: str
    places: Mapping[str, Place]
    position: int


@dataclass(frozen=True)
class Facts:
    """One side of a comparison.

    Attributes:
        label: how the caller named it.
        spec: the spec.
        manifest: the manifest of its plan or of its artifact; None where the model could not be reached.
        why: why there is no manifest.
        commit: the commit of a hub id, where it is known.
    """

    label: str
    spec: Spec
    manifest: Mapping[str, Any] | None = None
    why: str = ""
    commit: str | None = field(default=None)

    @cached_property
    def deltas(self) -> dict[str, DeltaFacts]:
        """The deltas of the manifest, in the order of the spec."""
        rows: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
        for row in self.manifest["tensors"]:
            if "site" in row:  # heads have none
                rows.setdefault((row["delta"], row["site"]), []).append(row)
        found = {}
        for position, delta in enumerate(self.manifest["deltas"]):
            name = delta["name"]
            places = {}
            for part in delta["parts"]:
                roles = {
                    site: role for line, role in part["roles"].items() for site in unfold(line)
                }
                for site in (site for folded in part["sites"] for site in unfold(folded)):
                    own = rows.get((name, site), [])
                    places[site] = _place(name, site, part["options"], own, roles.get(site, ""))
            found[name] = DeltaFacts(name, delta["operator"], places, position)
        return found

    @cached_property
    def tensors(self) -> dict[str, str]:
        """Every tensor that a saved delta holds, heads included: full name → form."""
        return {row["name"]: form_of(row) for row in self.manifest["tensors"]}

    @cached_property
    def heads(self) -> dict[str, str]:
        """The heads: full name → form."""
        return {
            row["name"]: form_of(row) for row in self.manifest["tensors"] if row["set"] == "heads"
        }


def form_of(row: Mapping[str, Any]) -> str:
    """The form of a tensor, such as `float32[8, 384]`."""
    return f"{row['dtype']}{row['shape']}"


def _place(
    delta: str, site: str, options: Mapping[str, Any], rows: list[Mapping[str, Any]], role: str
) -> Place:
    # The site of a parameter ends in the parameter's name; that of an activation is the module.
    at_module = any(row["kind"] == "activation" for row in rows)
    path = site.partition("[")[0]  # a part of a weight, a sum inside of a module
    module = path if at_module else path.rpartition(".")[0]
    forms = {
        "" if row["name"] == site or row["set"] == "tuned"
        else row["name"].rpartition(".")[2].removeprefix(f"{delta}_"): form_of(row)
        for row in rows
    }  # fmt: skip
    return Place(site, module, options, forms, {row["name"]: form_of(row) for row in rows}, role)


def _size(form: str) -> int:
    number = 1
    for size in form.partition("[")[2].rstrip("]").split(","):
        number *= int(size) if size.strip() else 1
    return number
