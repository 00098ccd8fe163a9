"""`deltac inspect`: the folded tree of a model, with what a delta does in it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import click

from deltac.cli._model import open_named, remote_code, require_libraries
from deltac.cli._output import Output, output_format
from deltac.diagnostics import DeltacError

FORMS = "give a hub id, a folder, package:DISTRIBUTION/PATH, a spec (.yaml) or an artifact"


@click.command("inspect", short_help="Show a model, spec or artifact as a tree.")
@click.argument("model")
@click.option(
    "--class", "class_name", help="The model class, where neither a spec nor the config names it."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How to print the tree.",
)
@click.option("--roles", is_flag=True, help="Say what each module does, read off the dataflow.")
@click.option(
    "--why", metavar="PATTERN", help="Show the evidence for the roles of these modules instead."
)
@remote_code
@output_format
@click.pass_obj
def command(
    output: Output,
    model: str,
    class_name: str | None,
    form: str,
    roles: bool,
    why: str | None,
    trust_remote_code: bool,
) -> None:
    """Show a model's modules as a tree, identical siblings folded: `0-5: BertLayer ×6`.

    MODEL is a hub id, a folder, package:DISTRIBUTION/PATH, a spec, or an artifact. For a spec or an artifact the tree
    says where deltas act and which parameters are trained. It is built on shapes: no weights are read.
    """
    require_libraries()
    from deltac.planning.tree import as_text, model_tree

    graph, plan = _open(model, class_name, trust_remote_code)
    if plan is not None:
        output.diagnostics(plan.warnings)
    if why is not None:
        click.echo(_why(graph, why))
        return
    tree = model_tree(graph, plan, roles=roles)
    click.echo(
        json.dumps(tree.data(), indent=2, ensure_ascii=False) if form == "json" else as_text(tree)
    )


def _why(graph: Any, pattern: str) -> str:
    """For each module that a pattern matches, its roles and what in the run gives them."""
    from deltac.model.entries import match_modules
    from deltac.model.fold import fold
    from deltac.model.nearby import endings
    from deltac.spec import TargetError

    try:
        found = match_modules(graph, pattern)
    except TargetError as error:
        raise DeltacError.of(error.code, str(error), fix=error.fix) from error
    if not found:
        message = f"'{pattern}' matches no module of {graph.class_name}"
        fix = endings(pattern, [path for path in graph.modules if path])
        fix = fix or "see the paths: leave out --why"
        raise DeltacError.of("DLT835", message, fix=fix)
    alike: dict[tuple[str, ...], list[list[str]]] = {}
    for path in found:
        roles = ", ".join(graph.roles.of.get(path, ["no role"]))
        lines = [path, *graph.roles.why.get(path, ())]
        key = (roles, *(re.sub("[0-9]+", "0", line) for line in lines))
        alike.setdefault(key, []).append(lines)
    shown = []
    for (roles, *_), rows in alike.items():
        # What holds for a place in each layer is said once, with the layers' numbers in one.
        first, *reasons = [
            ", ".join(name for part in zip(*map(_parts, line), strict=True) for name in fold(part))
            for line in zip(*rows, strict=True)
        ]
        shown += [f"{first}: {roles}", *(f"  {reason}" for reason in reasons)]
    return "\n".join(shown)


def _parts(line: str) -> list[str]:
    return line.split(", ")


def _open(model: str, class_name: str | None, trust_remote_code: bool) -> tuple[Any, Any]:
    """The graph of a model, and the plan where the argument is a spec or an artifact."""
    from deltac.api import plan
    from deltac.artifact.folder import MANIFEST
    from deltac.prepare import plan_of_artifact

    if (Path(model) / MANIFEST).is_file():
        planned = plan_of_artifact(Path(model), trust_remote_code=trust_remote_code)
        return planned.graph, planned
    if model.endswith((".yaml", ".yml")):
        planned = plan(Path(model), trust_remote_code=trust_remote_code)
        return planned.graph, planned
    return open_named(model, class_name, FORMS, trust_remote_code=trust_remote_code), None
