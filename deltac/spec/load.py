"""From a file, a text or a dict to a spec, or to all its problems."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

from deltac.diagnostics import DeltacError, Diagnostic, Problems
from deltac.spec.check import check
from deltac.spec.files import Folder, OutsideError
from deltac.spec.ignores import WITHOUT_MODEL, check_ignores, silence
from deltac.spec.installed import ExtraFragment, with_installed
from deltac.spec.limits import check_limits
from deltac.spec.paths import check_paths
from deltac.spec.resolve import resolve
from deltac.spec.scalars import Scalar
from deltac.spec.schema import build_schema, load_schema
from deltac.spec.settings import find_settings
from deltac.spec.spec import Spec, build
from deltac.spec.syntax import SLIPS
from deltac.spec.yaml import MAX_BYTES, Document, read, read_bytes

#: A path, a text (known by its line breaks), or the content as a dict.
SpecSource = str | Path | Mapping[str, Any]
#: The root folder that a spec may name files of, and the spec's path in it.
Place = tuple[Folder, str]


def load_spec(
    source: SpecSource,
    *,
    fragments: Mapping[str, Mapping[str, Any]] | None = None,
    extra_fragment: ExtraFragment | None = None,
    variables: Mapping[str, Scalar] | None = None,
    root: Path | None = None,
) -> Spec:
    """Reads and checks a spec as far as that goes without a model.

    Args:
        source: a path, a text with line breaks, or a dict.
        fragments: schema fragments by operator; without them the committed schema is used.
        extra_fragment: called with the name of an operator that the schema does not know and that
            an installed package registers; it imports that package.
        variables: values of the spec's variables, over those that it gives itself.
        root: the folder that bases and files of the model must lie in; None for the repository of
            the spec, or else its folder.

    Raises:
        DeltacError: with every problem, sorted by place.
    """
    spec, problems = inspect(
        source,
        fragments=fragments,
        extra_fragment=extra_fragment,
        variables=variables,
        root=root,
    )
    problems.raise_if_any()
    assert spec is not None
    return spec


def validate(
    source: SpecSource,
    *,
    fragments: Mapping[str, Mapping[str, Any]] | None = None,
    extra_fragment: ExtraFragment | None = None,
    variables: Mapping[str, Scalar] | None = None,
    root: Path | None = None,
) -> list[Diagnostic]:
    """Every problem of a spec that shows without a model, sorted by place. Takes as `load_spec`."""
    found = inspect(
        source,
        fragments=fragments,
        extra_fragment=extra_fragment,
        variables=variables,
        root=root,
    )
    return list(found[1])


def inspect(
    source: SpecSource,
    *,
    fragments: Mapping[str, Mapping[str, Any]] | None = None,
    extra_fragment: ExtraFragment | None = None,
    variables: Mapping[str, Scalar] | None = None,
    root: Path | None = None,
) -> tuple[Spec | None, Problems]:
    """The spec, if it has no errors, and every problem. Takes as `load_spec`."""
    try:
        place = place_of(source, root)
    except OutsideError:
        message = f"{source} does not lie in the root folder {root}"
        return None, _problems(DeltacError.of("DLT862", message))
    found = read_document(source)
    return _finish(*found, fragments, extra_fragment, variables or {}, place)


def inspect_bytes(
    content: bytes,
    name: str,
    *,
    fragments: Mapping[str, Mapping[str, Any]] | None = None,
    extra_fragment: ExtraFragment | None = None,
    variables: Mapping[str, Scalar] | None = None,
    place: Place | None = None,
) -> tuple[Spec | None, Problems]:
    """As `inspect`, for the content of a file or stream.

    Args:
        content: the bytes.
        name: what messages call it.
        fragments: as `inspect`.
        extra_fragment: as `inspect`.
        variables: as `inspect`.
        place: the root folder, and the path in it that paths of the spec are relative to.
    """
    found = read_bytes(content, name)
    return _finish(*found, fragments, extra_fragment, variables or {}, place)


def _finish(
    document: Document | None,
    problems: Problems,
    fragments: Mapping[str, Mapping[str, Any]] | None,
    extra_fragment: ExtraFragment | None,
    variables: Mapping[str, Scalar],
    place: Place | None,
) -> tuple[Spec | None, Problems]:
    if document is None:
        return None, problems
    # A value that lacks its quotes was reported; what else is wrong with it can't be told.
    slipped = {each.span for each in problems if each.code in SLIPS}
    try:
        document, unknown = resolve(document, place, variables, problems)
        settings = find_settings(place[0].root / PurePath(place[1]).parent) if place else None
    except DeltacError as error:
        problems.extend(error.diagnostics)
        return None, problems
    if document is None:
        return None, problems
    schema = load_schema() if fragments is None else build_schema(fragments)
    schema = with_installed(schema, document, extra_fragment, settings, problems)
    # What a value is that no variable gives can't be told; that there is none was reported.
    unsure = unknown | slipped
    problems.extend(each for each in check(document, schema) if each.span not in unsure)
    check_paths(document, place, problems)
    problems = _silenced(document, problems)
    if any(each.severity == "error" for each in problems):
        return None, problems
    spec = replace(build(document), settings=settings)
    if settings is not None:
        check_limits(spec, settings, schema, problems)
    faulty = any(each.severity == "error" for each in problems)
    return None if faulty else spec, problems


def _silenced(document: Document, problems: Problems) -> Problems:
    """The problems without the warnings that comments silence, with the faults of such comments."""
    problems.extend(check_ignores(document))
    kept = Problems()
    kept.extend(silence(document, problems, WITHOUT_MODEL))
    return kept


def place_of(source: SpecSource, root: Path | None = None) -> Place | None:
    """The root folder of a spec's file and the spec's path in it; None for a text or a dict.

    Raises:
        OutsideError: the file does not lie in `root`.
    """
    if isinstance(source, Mapping) or (isinstance(source, str) and _is_text(source)):
        return None
    try:
        return Folder.of(Path(source), root)
    except (OSError, ValueError):
        return None  # no such path: reading it says so


def _is_text(source: str) -> bool:
    return "\n" in source or "\r" in source


def read_document(source: SpecSource) -> tuple[Document | None, Problems]:
    """The document of a path, a text or a dict, as far as it can be read, and the problems."""
    if isinstance(source, Mapping):
        try:
            return Document.from_data(source), Problems()
        except DeltacError as error:
            return None, _problems(error)
    if isinstance(source, str) and _is_text(source):
        return read(source, "<text>")
    name = str(source)
    try:
        with Path(source).open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        # A NUL in a path is a ValueError.
        reason = getattr(error, "strerror", None) or str(error)
        message = f"can't read {name or 'an empty path'}: {reason.lower()}"
        fix = "a spec given as text has a line break" if ": " in name or "{" in name else None
        return None, _problems(DeltacError.of("DLT831", message, fix=fix))
    return read_bytes(content, name)


def _problems(error: DeltacError) -> Problems:
    problems = Problems()
    problems.extend(error.diagnostics)
    return problems
