"""Leaf regions: the forward of a module that owns a parameter, as a torch.fx graph."""

from __future__ import annotations

import inspect
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
        NotTraceableError: torch.fx can't trace it, it does something else in training than in evaluation or where an
            optional argument is left out, or it returns something else than tensors.
    """
    training = module.training
    texts, graph = [], None
    try:
        for mode in (True, False):
            module.train(mode)
            graph = _LeafTracer().trace(module)
            texts.append(graph.python_code("self").src)
        for name in _optional(module):
            _check_left_out(module, name, graph)
    except NotTraceableError:
        raise
    except Exception as error:
        raise NotTraceableError(" ".join(str(error).split())[:200]) from error
    finally:
        module.train(training)
    if texts[0] != texts[1]:
        raise NotTraceableError("its forward differs between training and evaluation")
    assert graph is not None
    result = next(node for node in graph.nodes if node.op == "output").args[0]
    if not isinstance(result, (fx.Node, tuple)):
        raise NotTraceableError("its forward returns something else than tensors")
    for _name, same in itertools.groupby(
        sorted((n for n in graph.nodes if n.op == "get_attr"), key=lambda n: str(n.target)),
        key=lambda n: n.target,
    ):
        first, *others = sorted(same, key=list(graph.nodes).index)
        for other in others:
            other.replace_all_uses_with(first)
            graph.erase_node(other)
    return graph


def _optional(module: nn.Module) -> list[str]:
    """The arguments of a forward that are None where the caller leaves them out."""
    parameters = inspect.signature(module.forward).parameters.values()
    return [each.name for each in parameters if each.default is None]


def _check_left_out(module: nn.Module, argument: str, graph: fx.Graph) -> None:
    """A traced argument is never None, so `is None` in a forward would choose one branch for all calls."""
    without = _LeafTracer().trace(module, concrete_args={argument: None})
    for node in reversed(list(without.nodes)):
        if getattr(node.target, "__name__", "") == "_assert_is_none":
            without.erase_node(node)
    if _body(graph) != _body(without):
        raise NotTraceableError(f"its forward depends on whether '{argument}' is given")


def _body(graph: fx.Graph) -> list[str | None]:
    """The graph's nodes as text, inputs left out."""
    return [node.format_node() for node in graph.nodes if node.op != "placeholder"]
