"""`deltac schema`: prints, writes or checks the committed JSON Schemas."""

from __future__ import annotations

from pathlib import Path

import click

from deltac.cli._output import output_format
from deltac.diagnostics import DeltacError
from deltac.diagnostics import json as diagnostics_json
from deltac.review import json_schema, lock_schema
from deltac.spec.editor import with_variables
from deltac.spec.schema import (
    FILE_NAME,
    RESOLVED_FILE_NAME,
    build_schema,
    checkout_folder,
    load_text,
    to_text,
)

DIAGNOSTICS_FILE_NAME = "deltac-diagnostics.v1.schema.json"
_NAMES = {
    "spec": FILE_NAME,
    "resolved-spec": RESOLVED_FILE_NAME,
    "diagnostics": DIAGNOSTICS_FILE_NAME,
    "lock": lock_schema.FILE_NAME,
    "diff": json_schema.DIFF_FILE_NAME,
    "changes": json_schema.CHANGES_FILE_NAME,
}


@click.command("schema", short_help="Print the JSON Schema of specs, for editors.")
@click.argument("name", type=click.Choice(list(_NAMES)), default="spec", metavar="[WHAT]")
@click.option("--write", "action", flag_value="write", help="Generate all into schemas/.")
@click.option("--check", "action", flag_value="check", help="Fail if a file in schemas/ is stale.")
@output_format
def command(name: str, action: str | None) -> None:
    """Print a JSON Schema: of specs, or of WHAT.

    WHAT is `spec` (with the built-in operators), `resolved-spec` (its variables replaced), `diagnostics` (as JSON),
    `lock`, `diff` (what `diff A B` prints as JSON) or `changes` (what `breaking` and `diff --against` do).

    --write and --check work on all schemas, in a checkout of deltac.
    """
    if action is None:
        click.echo(load_text(_NAMES[name]), nl=False)
        return
    folder = checkout_folder()
    if folder is None:
        raise DeltacError.of("DLT834", f"--{action} needs a checkout of deltac")
    texts = generated()
    if action == "write":
        folder.mkdir(exist_ok=True)
        for file_name, text in texts.items():
            (folder / file_name).write_text(text, encoding="utf-8")
            click.echo(f"schemas/{file_name}")
        return
    stale = [file_name for file_name, text in texts.items() if _read(folder / file_name) != text]
    if stale:
        fix = "run `deltac schema --write` and commit the result"
        raise DeltacError.of("DLT833", f"stale in schemas/: {', '.join(stale)}", fix=fix)


def generated() -> dict[str, str]:
    """Every schema's text, generated from the operators, by file name. Imports torch."""
    from deltac.operators import fragments

    spec = build_schema(fragments())
    return {
        FILE_NAME: to_text(with_variables(spec)),
        RESOLVED_FILE_NAME: to_text(spec),
        DIAGNOSTICS_FILE_NAME: to_text(diagnostics_json.schema()),
        lock_schema.FILE_NAME: to_text(lock_schema.schema()),
        json_schema.DIFF_FILE_NAME: to_text(json_schema.diff_schema()),
        json_schema.CHANGES_FILE_NAME: to_text(json_schema.changes_schema()),
    }


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
