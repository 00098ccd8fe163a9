"""`deltac init`: a starter spec for a model."""

from __future__ import annotations

import re
from pathlib import Path

import click

from deltac.cli._model import open_named, remote_code, require_libraries
from deltac.cli._output import output_format
from deltac.diagnostics import DeltacError


@click.command("init", short_help="Write a starter spec, read off a model.")
@click.argument("model")
@click.option("-o", "--output", "file", type=click.Path(dir_okay=False), help="Where to write it.")
@click.option("--class", "class_name", help="The model class, where the config names none.")
@remote_code
@output_format
def command(model: str, file: str | None, class_name: str | None, trust_remote_code: bool) -> None:
    """Write a commented spec for MODEL: a hub id, a folder, or package:DISTRIBUTION/PATH.

    The places are read off the model, which is built on shapes: no weights are read. Without -o the spec is printed;
    a file that exists is never overwritten.
    """
    require_libraries()
    from deltac.model.commit import commit_of
    from deltac.model.source import resolve
    from deltac.planning.starter import starter_spec

    target = Path(file) if file else None
    if target is not None and (target.exists() or target.is_symlink()):
        raise _exists(target)
    source = model
    if Path(model).is_dir():
        # A spec's folders are relative to it, and start with a dot or a slash.
        base = target.parent.resolve() if target else Path.cwd()
        folder = Path(model).resolve()
        inside = folder.is_relative_to(base)
        source = f"./{folder.relative_to(base).as_posix()}" if inside else str(folder)
    opened = str(Path(model).resolve()) if Path(model).is_dir() else model
    forms = "give a hub id, a folder or package:DISTRIBUTION/PATH"
    graph = open_named(model, class_name, forms, trust_remote_code=trust_remote_code)
    revision = commit_of(resolve(opened, None, Path(), None))
    stem = re.sub(r"\.delta\.ya?ml$|\.ya?ml$", "", target.name) if target else Path(model).name
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "starter"
    try:
        text = starter_spec(graph, name=name[:100], source=_scalar(source), revision=revision)
    except ValueError as error:
        raise DeltacError.of(
            "DLT863", f"no starter spec can be made for {model}: {error}"
        ) from None
    if target is None:
        click.echo(text, nl=False)
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise _exists(target) from None
    except OSError as error:
        raise DeltacError.of("DLT831", f"can't write {target}: {error.strerror}") from None
    click.echo(f"wrote {target}", err=True)


def _scalar(text: str) -> str:
    """The text as YAML, in quotes where it needs them."""
    return text if re.fullmatch(r"[A-Za-z0-9./~][\w./~:-]*", text) else f'"{text}"'


def _exists(target: Path) -> DeltacError:
    fix = "name another file, or remove it"
    return DeltacError.of("DLT864", f"{target} exists; init never overwrites", fix=fix)
