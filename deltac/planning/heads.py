"""The heads: parameters trained whole and saved, that are no part of the delta."""

from __future__ import annotations

from collections.abc import Collection

from deltac.diagnostics import Problems
from deltac.model.entries import match_modules
from deltac.model.fold import shown
from deltac.model.graph import ModelGraph
from deltac.model.nearby import endings
from deltac.planning.plan import HeadParameter
from deltac.planning.ties import names_of
from deltac.spec import Pattern, Spec


def resolve_heads(
    spec: Spec, graph: ModelGraph, fresh: Collection[str], problems: Problems
) -> list[HeadParameter]:
    """The head parameters that `heads` names. Reports DLT207 (no match), DLT405 (a fresh head left
    frozen) and DLT409 (blocks that the checkpoint lacks).

    `auto` takes what the base checkpoint lacks. A path takes every parameter below the modules that it matches, or the
    parameters that it matches.
    """
    if spec.heads == "auto":
        names = [name for name in graph.parameters if name in fresh]
        inside = [name for name in names if graph.modules[name.rpartition(".")[0]].stack]
        if inside:
            message = f"the base checkpoint lacks parameters of its blocks: {shown(inside)}"
            fix = "check 'model.config' and the source; if they shall be new, name them in 'heads'"
            problems.add("DLT409", message, spec.span(("heads",)), fix=fix)
            names = [name for name in names if name not in inside]
    else:
        before = len(problems)
        names = _named(spec, graph, problems)
        left = [name for name in graph.parameters if name in fresh and name not in names]
        if left and len(problems) == before:  # a misspelt head is the cause, not a second fault
            message = f"the base has no trained values for {shown(left)}, which 'heads' leaves frozen at random ones"
            modules = ", ".join(dict.fromkeys(name.rpartition(".")[0] for name in left))
            fix = f"write 'heads: auto', or name what is new: {modules}"
            problems.add("DLT405", message, spec.span(("heads",)), fix=fix)
    for name in dict.fromkeys(names):
        own, others = _in_and_outside(graph, spec, name)
        if own and others:
            message = f"the head {own[0]} is one tensor with {shown(others)}, trained with it"
            fix = "leave it out of 'heads', or say in the config that nothing is tied"
            problems.add("DLT410", message, spec.span(("heads",)), fix=fix)
    return [
        HeadParameter(name, graph.parameters[name], name in fresh)
        for name in graph.parameters
        if name in names
    ]


def _in_and_outside(graph: ModelGraph, spec: Spec, name: str) -> tuple[list[str], list[str]]:
    """The names of a head's tensor that `heads` names, and those that it doesn't."""
    patterns = [] if spec.heads == "auto" else spec.heads
    roots = {path for entry in patterns for path in match_modules(graph, entry)}
    every = names_of(graph, name)
    own = [n for n in every if any(n.startswith(root + ".") for root in roots)]
    own += [n for n in every if any(Pattern.parse(entry).matches(n) for entry in patterns)]
    return own, [n for n in every if n not in own]


def _named(spec: Spec, graph: ModelGraph, problems: Problems) -> list[str]:
    found: list[str] = []
    for index, entry in enumerate(spec.heads):
        modules = match_modules(graph, entry)
        pattern = Pattern.parse(entry)
        everything = [*graph.parameters, *graph.tied]
        names = [
            graph.tied.get(name, name)
            for name in everything
            if pattern.matches(name) or any(name.startswith(module + ".") for module in modules)
        ]
        if not names:
            message = f"'{entry}' matches nothing in {graph.class_name}"
            fix = endings(entry, [path for path in graph.modules if path])
            fix = fix or "see the paths with: deltac inspect MODEL"
            if modules:
                message = f"'{entry}' matches {shown(modules)}, without a parameter to train"
                fix = "remove the entry"
            problems.add("DLT207", message, spec.span(("heads", index)), fix=fix)
        found += names
    return found
