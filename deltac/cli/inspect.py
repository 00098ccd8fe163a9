"""`deltac inspect`: the folded tree of a model, with what a delta does in it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from deltac.cli._model import remote_code, require_libraries
from deltac.cli._output import Output, output_format
from deltac.diagnostics import DeltacError, Diagnostic

_FORMS = "give a hub id, a folder, package:DISTRIBUTION/PATH, a spec (.yaml) or an artifact"


@click.command("inspect")
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
    from deltac.spec import TargetError

    try:
        found = match_modules(graph, pattern)
    except TargetError as error:
        raise DeltacError.of(error.code, str(error), fix=error.fix) from error
    if not found:
        raise DeltacError.of("DLT835", f"'{pattern}' matches no module of {graph.class_name}")
    lines = []
    for path in found:
        lines.append(f"{path}: {', '.join(graph.roles.of.get(path, ['no role']))}")
        lines += [f"  {reason}" for reason in graph.roles.why.get(path, ())]
    return "\n".join(lines)


def _open(model: str, class_name: str | None, trust_remote_code: bool) -> tuple[Any, Any]:
    """The graph of a model, and the plan where the argument is a spec or an artifact."""
    from deltac.api import plan
    from deltac.artifact.folder import MANIFEST
    from deltac.prepare import open_source, plan_of_artifact

    if (Path(model) / MANIFEST).is_file():
        planned = plan_of_artifact(Path(model), trust_remote_code=trust_remote_code)
        return planned.graph, planned
    if model.endswith((".yaml", ".yml")):
        planned = plan(Path(model), trust_remote_code=trust_remote_code)
        return planned.graph, planned
    # A spec wants folders to start with a dot or a slash; here a name that is a folder is enough.
    source = str(Path(model).resolve()) if Path(model).is_dir() else model
    try:
        return open_source(source, class_name, trust_remote_code=trust_remote_code), None
    except DeltacError as error:
        raise DeltacError([_of_the_call(each) for each in error.diagnostics]) from error


def _of_the_call(problem: Diagnostic) -> Diagnostic:
    """A problem of a model's name, as one of the call: there is no spec to point at or to mend."""
    fix = problem.fix
    if problem.code == "DLT255":
        fix = str(fix).replace("write 'class: ...' in 'model'", "say which with --class")
    elif problem.code == "DLT805":
        fix = f"check the name and the network; {_FORMS}"
    elif problem.code == "DLT251":
        fix = _FORMS
    code = "DLT835" if problem.entry.exit == 1 else problem.code
    return replace(problem, code=code, span=None, fix=fix)
