"""The JSON Schema of specs: the language's own keys, and one part per operator."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from deltac.diagnostics import DeltacError
from deltac.spec import language
from deltac.spec.spec import DELTA_KEYS, NARROWING_KEYS, TARGET_KEYS

#: File name of the spec schema for editors, in the folder `schemas`: a value may be a variable, see `with_variables`.
FILE_NAME = "deltac-spec.v1.schema.json"
#: The one that deltac checks with, after variables are replaced.
RESOLVED_FILE_NAME = "deltac-resolved-spec.v1.schema.json"

Schema = dict[str, Any]


def build_schema(fragments: Mapping[str, Mapping[str, Any]]) -> Schema:
    """The schema of specs that may use these operators.

    Args:
        fragments: by operator: `description`, `properties` (option to JSON Schema), `required`
            (names of options) and `paper` (a URL).

    Raises:
        ValueError: an operator's name or option can't be used in a spec.
    """
    schema = copy.deepcopy(language.SPEC)
    for name in sorted(fragments):
        _add(schema, name, fragments[name])
    return schema


def extend_schema(schema: Schema, name: str, fragment: Mapping[str, Any]) -> Schema:
    """A copy of the schema with one more operator, at the end.

    Raises:
        ValueError: the operator's name or an option can't be used in a spec, or the fragment is no
            JSON Schema.
    """
    # Only needed for another package's operator: jsonschema costs time to import.
    from jsonschema import Draft7Validator, SchemaError

    extended = copy.deepcopy(schema)
    _add(extended, name, fragment)
    try:
        Draft7Validator.check_schema(extended["definitions"][name])
    except SchemaError as error:
        raise ValueError(f"its options are no JSON Schema: {error.message}") from None
    return extended


def admit(schema: Schema, name: str) -> Schema:
    """A copy of the schema that lets an operator pass whose options are not known."""
    admitted = copy.deepcopy(schema)
    admitted["definitions"]["operator"]["enum"].append(name)
    return admitted


def operator_names(schema: Schema) -> list[str]:
    """The operators that a schema knows."""
    return list(schema["definitions"]["operator"]["enum"])


@functools.cache
def load_schema() -> Schema:
    """The committed schema of resolved specs, with the built-in operators. It is shared: don't change it.

    Raises:
        DeltacError: DLT834.
    """
    return json.loads(load_text(RESOLVED_FILE_NAME))


def load_text(file_name: str) -> str:
    """The text of a committed schema: of the installed package, or of the checkout.

    Raises:
        DeltacError: DLT834.
    """
    packaged = resources.files("deltac").joinpath("schemas", file_name)
    checkout = checkout_folder()
    for place in (packaged, checkout and checkout / file_name):
        if place is not None and place.is_file():
            return place.read_text(encoding="utf-8")
    fix = "reinstall deltac; in a checkout, run `deltac schema --write`"
    raise DeltacError.of("DLT834", f"the schema {file_name} is missing", fix=fix)


def checkout_folder() -> Path | None:
    """The folder `schemas` of the checkout that this code runs from, if it does."""
    root = Path(__file__).parents[2]
    return root / "schemas" if (root / "pyproject.toml").is_file() else None


def to_text(schema: Schema) -> str:
    """The text of a schema as committed."""
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _add(schema: Schema, name: str, fragment: Mapping[str, Any]) -> None:
    definitions = schema["definitions"]
    if not language.is_operator_name(name) or name in definitions:
        raise ValueError(f"'{name}' can't be the name of an operator")
    taken = {*DELTA_KEYS, *TARGET_KEYS, "expect"}
    options = {key: _flat(value) for key, value in fragment["properties"].items()}
    for option in options:
        if option in taken or not language.is_option_name(option):
            raise ValueError(f"'{option}' can't be the name of an option of {name}")
    paper = fragment.get("paper")
    about = fragment["description"] + (f" Paper: {paper}" if paper else "")
    definitions["operator"]["enum"].append(name)
    schema["definitions"][name] = {
        "description": about,
        "type": "object",
        "properties": {
            **{key: {"$ref": f"#/definitions/delta/properties/{key}"} for key in DELTA_KEYS},
            **options,
            "overrides": _overrides(name, options),
        },
        "required": sorted(fragment.get("required", ())),
        "additionalProperties": False,
    }
    # `if` and `then` rather than `oneOf`: a misspelt option is then reported as such.
    definitions["delta"]["allOf"].append(
        {
            "if": {"properties": {"operator": {"const": name}}, "required": ["operator"]},
            "then": {"$ref": f"#/definitions/{name}"},
        }
    )


def _overrides(name: str, options: Mapping[str, Any]) -> Schema:
    narrowing = {key: f"#/definitions/target/properties/{key}" for key in NARROWING_KEYS}
    changed = {key: f"#/definitions/{name}/properties/{key}" for key in options}
    return {
        "description": "Other options on a part of the target's sites.",
        "type": "array",
        "minItems": 1,
        "items": {
            "description": f"Keys of `target` that narrow it, and options of `{name}`.",
            "type": "object",
            "properties": {key: {"$ref": ref} for key, ref in {**narrowing, **changed}.items()},
            "additionalProperties": False,
        },
    }


def _flat(schema: Mapping[str, Any]) -> Schema:
    """The schema without `anyOf` where each branch is another type: bounds apply by type anyway.

    With `anyOf` the only thing known of a wrong value is that no branch takes it.
    """
    branches = schema.get("anyOf", ())
    types = [branch.get("type") for branch in branches]
    flat = {key: value for key, value in schema.items() if key != "anyOf"}
    if not branches or len({*map(str, types)}) < len(types) or None in types:
        return dict(schema)
    for branch in branches:
        rest = {key: value for key, value in branch.items() if key != "type"}
        if flat.keys() & rest.keys() or "enum" in rest or "const" in rest:
            return dict(schema)
        flat |= rest
    return {"description": flat.pop("description", ""), "type": types, **flat}
