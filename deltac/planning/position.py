"""Where an activation operator stands relative to the residual: checked on the traced run."""

from __future__ import annotations

from dataclasses import replace

from deltac.model.graph import ModelGraph
from deltac.model.residual import residual_after
from deltac.operators import Operator
from deltac.planning.refused import RefusedError
from deltac.sites import Inside, Site


def place(graph: ModelGraph, operator: Operator, site: Site) -> Site:
    """The site where the operator really acts.

    Raises:
        RefusedError: DLT305 (its output is no tensor), DLT501 (no residual follows).
    """
    if site.kind != "activation":
        return site
    calls = graph.modules[site.module].calls
    if not calls:
        return site  # reported as a place that never runs
    kind = calls[0].output_kind
    if kind not in ("tensor", "tuple") or site.width_out is None:
        message = (
            f"{site.module_class} returns {kind}, not a tensor or a tuple that starts with one"
        )
        raise RefusedError("DLT305", message, "choose a module inside it")
    if operator.position == "output":
        return site
    residual = residual_after(graph, site.module)
    if residual is None:
        fix = "'position: output' acts on the output itself"
        inside = [path for path in graph.modules if path.startswith(site.module + ".")]
        added = [path for path in inside if residual_after(graph, path) is not None]
        if added:
            fix = f"name the module whose output is added, such as '{'.'.join(added[0].split('.')[-3:])}'; {fix}"
        message = f"the output of this {site.module_class} is not added to a residual"
        raise RefusedError("DLT501", message, fix)
    if operator.position == "before-residual":
        return site
    if not residual.modules:
        return _inside(graph, site, residual.scope)
    return graph.site("activation", residual.modules[0])


def _inside(graph: ModelGraph, site: Site, scope: str) -> Site:
    """The site at a sum that is no module's output: it lies inside the forward of `scope`."""
    own = site.module.removeprefix(f"{scope}." if scope else "")
    return replace(
        site,
        module=scope,
        module_class=graph.modules[scope].class_name,
        layout="other",
        part=own.replace(".", "_"),
        inside=Inside(before=own, after=own, summed=True),
        parameters=graph.modules[scope].parameters,
    )
