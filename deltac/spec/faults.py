"""One schema error becomes diagnostics in the words of the spec language."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from jsonschema import ValidationError

from deltac.diagnostics import Problems, did_you_mean
from deltac.spec import phrases, scalars
from deltac.spec.foreign import ELSEWHERE, OPTIONS, VALUES, is_foreign, method, stands_for
from deltac.spec.spec import DELTA_KEYS, TARGET_KEYS
from deltac.spec.yaml import Document

Path = tuple[str | int, ...]

_BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
_EMPTY = ("minItems", "minLength", "minProperties")


def meant(error: ValidationError) -> set[str]:
    """The keys that the unknown ones of a mapping were most likely meant as."""
    known = error.schema["properties"]
    return {stands_for(str(key), known) for key in error.instance if key not in known} - {None}


def report(
    document: Document,
    path: Path,
    error: ValidationError,
    problems: Problems,
    misspelt: Collection[str] = (),
) -> None:
    """Adds what one schema error means; that a key of `misspelt` is missing is no second fault."""
    rule = error.validator
    if rule == "additionalProperties":
        for key in error.instance:
            if key not in error.schema["properties"]:
                _unknown_key(document, (*path, key), error, problems)
        return
    if rule == "required":
        for key in error.validator_value:
            if key not in error.instance and key not in misspelt:
                _missing_key(document, path, key, error.schema, problems)
        return
    span = document.span(path)
    schema: Mapping[str, Any] = error.schema
    found = phrases.value(error.instance, span.text)
    key = _key(path)
    if rule == "type":
        message = f"{key}found {found}; expected {phrases.expected(schema)}"
        fix = _type_fix(path, error.instance, schema, span.text)
        problems.add("DLT103", message, span, _form(schema), fix)
    elif rule in _BOUNDS:
        message = f"{key}found {span.text}, expected {phrases.expected(schema)}"
        problems.add("DLT104", message, span, _form(schema))
    elif rule == "const" and path == ("version",):
        message = f"found version {span.text}, expected {error.validator_value}"
        fix = "write `version: 1`, or install the deltac that the spec was written for"
        problems.add("DLT109", message, span, fix=fix)
    elif rule == "enum":
        _not_one_of(document, path, error.instance, schema, problems)
    elif rule in _EMPTY and error.validator_value == 1:
        problems.add("DLT117", f"{key}found {_empty(error.instance)}", span, fix=_empty_fix(path))
    elif rule == "uniqueItems":
        entry = document.span((*path, repeated(error.instance)))
        message = f"{key}the entry `{phrases.short(entry.text)}` is here twice"
        problems.add("DLT118", message, entry, fix="keep one of the two")
    elif rule in ("pattern", "maxLength") and path[-1:] == ("name",):
        _bad_name(document, path, error.instance, problems)
    elif rule == "pattern" and path[-1:] == ("role",):
        _not_one_of(document, path, error.instance, schema["items"], problems)
    elif rule == "pattern" and (path[:1] == ("budget",) or {"layers", "experts"} & {*path}):
        pass  # values.py reads these and says more
    else:
        message = f"{key}found {found}, which is not of the form that it takes"
        notes = [schema["description"]] if "description" in schema else []
        problems.add("DLT121", message, span, notes)


def _form(schema: Mapping[str, Any]) -> list[str]:
    """A note on the form of a text that is one of two types, where its schema gives no example."""
    several = isinstance(schema.get("type"), list)
    unclear = several and "pattern" in schema and "examples" not in schema
    return [schema["description"]] if unclear and "description" in schema else []


def repeated(items: list) -> int | None:
    """Index of the first text or integer of a list that stands there twice."""
    seen = set()
    for at, item in enumerate(items):
        if isinstance(item, str | int):
            if (type(item), item) in seen:
                return at
            seen.add((type(item), item))
    return None


def place(document: Document, path: Path) -> str:
    """What a mapping at a path is called."""
    if path[:1] == ("deltas",) and len(path) == 2:
        return f"the operator `{_operator(document, path)}`"
    if "overrides" in path:
        return f"an override of the operator `{_operator(document, path[:2])}`"
    return f"`{path[-1]}`" if path else "a spec"


def _operator(document: Document, path: Path) -> str:
    return document.data["deltas"][path[1]]["operator"]


def _key(path: Path) -> str:
    """The key that a message begins with."""
    names = [part for part in path if isinstance(part, str)]
    return f"`{names[-1]}`: " if names else ""


def _unknown_key(
    document: Document, path: Path, error: ValidationError, problems: Problems
) -> None:
    key = phrases.short(str(path[-1]))
    where = place(document, path[:-1])
    known = list(error.schema["properties"])
    span = document.key_span(path)
    in_delta = path[:1] == ("deltas",) and len(path) == 3
    if key in OPTIONS and OPTIONS[key] in known:
        fix = f"write `{OPTIONS[key]}`"
        problems.add("DLT102", f"`{key}` is a key of another library", span, fix=fix)
    elif is_foreign(key):
        fix = ELSEWHERE.get(key) or f"write `{OPTIONS[key]}` in an entry of `deltas`"
        if key in OPTIONS and in_delta:
            fix = f"{where} has no `{OPTIONS[key]}`; its options: {', '.join(_options(known))}"
        problems.add("DLT102", f"`{key}` is a key of another library", span, fix=fix)
    elif in_delta and (key in TARGET_KEYS or key == "expect"):
        fix = f"move it into `target`: `target: {{{key}: ...}}`"
        problems.add("DLT101", f"`{key}` is a key of `target`, not of a delta", span, fix=fix)
    elif path[-2:-1] == ("target",) and key in DELTA_KEYS:
        fix = "move it out of `target`, beside `operator`"
        problems.add("DLT101", f"`{key}` is a key of a delta, not of `target`", span, fix=fix)
    else:
        message = f"{where} has no key `{key}`"
        notes = [*_letters(key), f"known keys: {', '.join(known)}"]
        if path[-2:-1] == ("target",):
            notes.append("options of the operator stand beside `target`, not in it")
        problems.add("DLT101", message, span, notes, did_you_mean(key, known))


def _missing_key(
    document: Document, path: Path, key: str, schema: Mapping[str, Any], problems: Problems
) -> None:
    fixes = {
        "version": "write `version: 1`",
        "deltas": "write `deltas:` and a list under it",
        "operator": "write `operator: lora`, for instance; `deltac operators` lists the names",
        "target": "write `target: {module: ...}`",
    }
    where = "a delta" if path[:1] == ("deltas",) and len(path) == 2 else place(document, path)
    if key not in fixes:
        where = place(document, path)
    message = f"{where} needs the key `{key}`"
    notes, fix = [], fixes.get(key)
    if document.files and key == "operator":
        # On top of bases, a delta without an operator was meant as a change of one of theirs.
        deltas = [each for at, each in enumerate(document.data["deltas"]) if at != path[1]]
        names = [str(each.get("name") or each.get("operator")) for each in deltas]
        notes = [f"other deltas, with those of the bases: {', '.join(names)}"] if names else []
        fix = did_you_mean(str(document.data["deltas"][path[1]].get("name")), names) or fix
    if key not in fixes:
        notes = [f"`{key}`: {schema['properties'][key].get('description', '')}"]
    problems.add("DLT106", message, document.span(path), notes, fix)


def _not_one_of(
    document: Document, path: Path, instance: Any, schema: Mapping[str, Any], problems: Problems
) -> None:
    span = document.span(path)
    allowed = schema["enum"]
    word = instance if isinstance(instance, str) else ""
    for key, code in (("operator", "DLT107"), ("role", "DLT105")):
        if key in path[-2:] and isinstance(instance, str):
            notes = [*_letters(word), f"known {key}s: {', '.join(allowed)}"]
            message = f"there is no {key} `{phrases.short(word)}`"
            known = method(word) if key == "operator" else None
            problems.add(code, message, span, notes, known or did_you_mean(word, allowed))
            return
    found = phrases.value(instance, span.text)
    message = f"{_key(path)}found {found}; expected {phrases.expected(schema)}"
    names = [each for each in allowed if isinstance(each, str)]
    same = VALUES.get(str(path[-1]), {}).get(word.lower().removeprefix("torch."))
    fix = f"write `{path[-1]}: {same}`" if same in names else did_you_mean(word, names)
    fix = _null_fix(path) if instance is None else fix
    problems.add("DLT105", message, span, _letters(word), fix)


def _bad_name(document: Document, path: Path, name: str, problems: Problems) -> None:
    span = document.span(path)
    if len(path) == 1:
        message = f"`{phrases.short(name)}` can't be the name of a spec, which names a folder too"
        notes = ["letters, digits, `.`, `_` and `-`; a letter or digit first; at most 100"]
        mended = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-_")[:100]
    else:
        message = f"`{phrases.short(name)}` can't be the name of a delta"
        notes = [
            "lower-case letters and digits, a letter first, at most 50",
            "parameters are named `<module>.<delta>_<parameter>`",
        ]
        mended = re.sub("^[^a-z]+|[^a-z0-9]", "", name.lower())[:50]
    notes = [*_letters(name), *notes]
    problems.add("DLT110", message, span, notes, f"write `name: {mended}`" if mended else None)


def _type_fix(path: Path, found: Any, schema: Mapping[str, Any], written: str) -> str | None:
    """How to write a value of the wrong type, where that can be told."""
    types = schema.get("type", ())
    types = [types] if isinstance(types, str) else types
    key = f"{path[-1]}: " if path and isinstance(path[-1], str) else ""
    if found is None:
        return _null_fix(path)
    if path[-2:] == ("budget", "trainable") and isinstance(found, float):
        return "write a count, or a percentage such as `trainable: 2%`"
    if path[-1:] in (("target",), ("model",)) and isinstance(found, str | list):
        inner = "module" if path[-1] == "target" else "source"
        return (
            f"write `{key}{{{inner}: {phrases.short(written)}}}`" if "\n" not in written else None
        )
    if isinstance(found, str):
        plain = scalars.resolve(found)
        number = isinstance(plain, int | float) and not isinstance(plain, bool)
        if ("integer" in types and type(plain) is int) or ("number" in types and number):
            return f"write `{key}{found}`, without quotes"
        if "boolean" in types and found.lower() in ("yes", "on", "true", "no", "off", "false"):
            return f"write `{key}{'true' if found.lower() in ('yes', 'on', 'true') else 'false'}`"
        if "array" in types and "," in found:
            return "write a list: `[a, b]`"
    elif "integer" in types and isinstance(found, float) and found.is_integer():
        return f"write `{key}{int(found)}`"
    elif types == ["string"] and isinstance(found, int | float):
        return f'write `{key}"{written}"`, with quotes'
    elif path == ("deltas",) and isinstance(found, dict):
        return "begin each delta with `- `"
    elif path[:1] == ("deltas",) and len(path) == 2:
        return "write `{operator: ..., target: {module: ...}}`"
    elif path == ("heads",):
        return "write `heads: auto`, a list of modules, or `heads: []`"
    return None


def _null_fix(path: Path) -> str:
    needed = path[-1:] in (("version",), ("deltas",), ("operator",), ("target",))
    return "give it a value" if needed else "give it a value, or remove the key"


def _letters(word: str) -> list[str]:
    letters = phrases.lookalike(word)
    return [letters] if letters else []


def _options(known: list[str]) -> list[str]:
    return [key for key in known if key not in DELTA_KEYS]


def _empty(found: Any) -> str:
    return "an empty text" if found == "" else phrases.value(found)


def _empty_fix(path: Path) -> str:
    return "give it a value, or remove it" if isinstance(path[-1], int) else "fill or remove it"
