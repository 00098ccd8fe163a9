"""A starter spec for a model: LoRA on what its attention reads, by role where the run shows roles."""

from __future__ import annotations

from deltac.model.entries import whole_of
from deltac.model.fold import fold
from deltac.model.graph import ModelGraph
from deltac.model.parts import NoPartsError, rows_of
from deltac.model.role_places import role_places

_READ = [
    f"{kind}.{part}"
    for kind in ("attention", "cross-attention")
    for part in ("query", "key", "value")
]
#: What to take of a model, in order: roles, and why these.
_CHOICES = (
    (_READ, "What attention reads: its query, key and value."),
    (["mixer"], "The linears of the mixers: it has no attention."),
    (["linear"], "Every linear in a block: no attention was found in a run of the model."),
)

_SPEC = """\
# yaml-language-server: $schema=deltac-spec.v1.schema.json
# For completion in an editor: deltac schema > deltac-spec.v1.schema.json
# Written by `deltac init`. `deltac validate` checks this file, `deltac plan` shows what it does,
# `deltac compile` makes the delta. `deltac operators` lists the other operators.
version: 1
name: {name}
model:
  source: {source}
{revision}  class: {cls}
deltas:
  # {why}
{where}
  - operator: lora
    target: {{{key}: [{words}], expect: {expect}}}
    rank: 8    # of each product of two factors
    alpha: 16  # the product is multiplied by alpha / rank
# `heads: auto` trains and saves what the base's checkpoint lacks, such as a fresh classifier.
heads: auto
# budget: {{trainable: 2%}}  # the build would fail above
"""


def starter_spec(graph: ModelGraph, *, name: str, source: str, revision: str | None) -> str:
    """The text of a spec for a model, with comments; it validates and plans.

    Raises:
        ValueError: the model has no linear layer that runs.
    """
    key, words, places, why = _target(graph)
    return _SPEC.format(
        name=name,
        source=source,
        revision=f"  revision: {revision}  # a commit: builds stay the same\n" if revision else "",
        cls=graph.class_name,
        why=why,
        where="\n".join(f"  #   {path}" for path in fold(places)),
        key=key,
        words=", ".join(words),
        expect=len(places),
    )


def _target(graph: ModelGraph) -> tuple[str, list[str], list[str], str]:
    """Key of the target, its entries, the places that it selects, and why these."""
    for roles, why in _CHOICES:
        by_role = {role: role_places(graph, role, "weight") for role in roles}
        found = set().union(*by_role.values())
        order = {path: at for at, path in enumerate(graph.modules)}
        places = sorted(found, key=lambda name: order.get(whole_of(name), -1))
        if found and all(_is_sound(graph, name) for name in found):
            return "role", [role for role in roles if by_role[role]], places, why
    paths = linears(graph)
    if not paths:
        raise ValueError("it has no linear layer that runs")
    return "module", _patterns(paths, graph), paths, "All linear layers that run."


def _is_sound(graph: ModelGraph, name: str) -> bool:
    """Whether a place runs, and the rows of a part are known."""
    path = whole_of(name)
    if path not in graph.modules or not graph.modules[path].calls:
        return False
    try:
        rows = graph.site("weight", path, "weight").shape[:1]
        return name == path or rows_of(graph, path, name[len(path) + 1 : -1], *rows) is not None
    except NoPartsError:
        return False


def linears(graph: ModelGraph) -> list[str]:
    """The paths of the linear layers that run, in stacks of blocks where there are some."""
    found = [path for path, info in graph.modules.items() if info.layout == "linear" and info.calls]
    return [path for path in found if graph.modules[path].stack] or found


def _patterns(paths: list[str], graph: ModelGraph) -> list[str]:
    """Endings that select exactly these paths: the shortest that no other module has."""
    chosen: dict[str, None] = {}
    wanted = set(paths)
    for path in paths:
        segments = path.split(".")
        for count in range(1, len(segments) + 1):
            ending = ".".join(segments[-count:])
            same = {each for each in graph.modules if f".{each}".endswith(f".{ending}")}
            if same <= wanted and not segments[-count].isdigit():
                chosen[ending] = None
                break
        else:
            chosen["/" + path] = None
    return list(chosen)
