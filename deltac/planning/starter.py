"""A starter spec for a model: LoRA on the projections that its attention really reads."""

from __future__ import annotations

from collections.abc import Iterator

from torch import fx

from deltac.model.fold import fold
from deltac.model.graph import ModelGraph

_ATTENTION = "scaled_dot_product_attention"

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
    target: {{module: [{modules}], expect: {expect}}}
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
    paths, why = attention_inputs(graph), "What attention reads: its query, key and value."
    if not paths:
        paths, why = linears(graph), "All linear layers that run, found no attention by dataflow."
    if not paths:
        raise ValueError("it has no linear layer that runs")
    modules = _patterns(paths, graph)
    return _SPEC.format(
        name=name,
        source=source,
        revision=f"  revision: {revision}  # a commit: builds stay the same\n" if revision else "",
        cls=graph.class_name,
        why=why,
        where="\n".join(f"  #   {path}" for path in fold(paths)),
        modules=", ".join(modules),
        expect=len(paths),
    )


def linears(graph: ModelGraph) -> list[str]:
    """The paths of the linear layers that run, in stacks of blocks where there are some."""
    found = [path for path, info in graph.modules.items() if info.layout == "linear" and info.calls]
    return [path for path in found if graph.modules[path].stack] or found


def attention_inputs(graph: ModelGraph) -> list[str]:
    """The linear layers whose output becomes query, key or value of an attention call."""
    known = set(linears(graph))
    makers = {
        call.output: path
        for path in known
        for call in graph.modules[path].calls
        if call.output is not None
    }
    found: dict[str, None] = {}
    for node in graph.trace.graph.nodes:
        if node.op == "call_function" and getattr(node.target, "__name__", "") == _ATTENTION:
            for value in [*node.args[:3], *(node.kwargs.get(k) for k in ("query", "key", "value"))]:
                found |= dict.fromkeys(_above(value, makers))
    return [path for path in graph.modules if path in found]


def _above(value: object, makers: dict[fx.Node, str]) -> Iterator[str]:
    """The nearest linear layers that a value comes from, along each way up."""
    stack, seen = [value], set()
    while stack:
        node = stack.pop()
        if not isinstance(node, fx.Node) or node in seen:
            continue
        seen.add(node)
        if node in makers:
            yield makers[node]
        else:
            stack += node.all_input_nodes


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
