"""Where an activation operator stands relative to the residual: checked on the traced run."""

from __future__ import annotations

from deltac.diagnostics import Problems
from deltac.model.graph import ModelGraph
from deltac.model.residual import residual_after
from deltac.operators import Operator
from deltac.sites import Site
from deltac.spec import DeltaSpec, Spec


def place(
    spec: Spec,
    graph: ModelGraph,
    delta: DeltaSpec,
    operator: Operator,
    site: Site,
    problems: Problems,
) -> Site | None:
    """The site where the operator really acts; None with a diagnostic where it can't.

    Reports DLT305 (its output is no tensor), DLT501 (no residual follows) and DLT502 (the sum is no module's output).
    """
    if site.kind != "activation":
        return site
    calls = graph.modules[site.module].calls
    span = spec.span((*delta.path, "target"))
    if calls and (calls[0].output_kind not in ("tensor", "tuple") or site.width_out is None):
        message = f"{site.module} ({site.module_class}) returns {calls[0].output_kind}, not a tensor or a tuple of tensors"
        problems.add("DLT305", message, span, fix="choose a module inside it")
        return None
    if operator.position == "output" or not calls:
        return site
    residual = residual_after(graph, site.module)
    if residual is None:
        message = f"the output of {site.module} ({site.module_class}) is not added to a residual"
        fix = "'position: output' puts the adapter on the output itself; or target the module whose output is added"
        problems.add("DLT501", message, span, fix=fix)
        return None
    if operator.position == "before-residual":
        return site
    if not residual.modules:
        scope = graph.modules[residual.scope]
        message = f"the sum after {site.module} is made inside {scope.class_name}.forward; no module's output is it"
        problems.add("DLT502", message, span, fix="use 'position: before-residual'")
        return None
    return graph.site("activation", residual.modules[0])
