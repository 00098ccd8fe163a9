"""Leaf regions: the forward of a module that owns a parameter, as a torch.fx graph."""

from __future__ import annotations

import itertools

from torch import fx, nn


class NotTraceableError(Exception):
    """The module's forward can't be traced; the message says why."""


class _LeafTracer(fx.Tracer):
    """Traces one module's own forward; its children stay calls."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


def trace_leaf(module: nn.Module) -> fx.Graph:
    """The graph of the module's forward, one `get_attr` node for each parameter that it reads.

    Raises:
        NotTraceableError: torch.fx can't trace it, or it does something else in training than in evaluation.
    """
    training = module.training
    texts, graph = [], None
    try:
        for mode in (True, False):
            module.train(mode)
            graph = _LeafTracer().trace(module)
            texts.append(graph.python_code("self").src)
    except Exception as error:
        raise NotTraceableError(" ".join(str(error).split())[:200]) from error
    finally:
        module.train(training)
    if texts[0] != texts[1]:
        raise NotTraceableError("its forward differs between training and evaluation")
    assert graph is not None
    for _name, same in itertools.groupby(
        sorted((n for n in graph.nodes if n.op == "get_attr"), key=lambda n: str(n.target)),
        key=lambda n: n.target,
    ):
        first, *others = sorted(same, key=list(graph.nodes).index)
        for other in others:
            other.replace_all_uses_with(first)
            graph.erase_node(other)
    return graph
