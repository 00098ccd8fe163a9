"""What the names of modules tell of their roles, for the types where they tell: the judge of what the dataflow says."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

#: End of a module's path → the part of an attention or MLP that it must be. The first that matches counts.
TELLING: tuple[tuple[str, str], ...] = (
    (r"(q_proj|query|q_lin|query_proj|wq|q|to_q|q_b_proj|linear_q|query_layer)", "query"),
    (r"(k_proj|key|k_lin|key_proj|wk|k|to_k|linear_k|key_layer)", "key"),
    (r"(v_proj|value|v_lin|value_proj|wv|v|to_v|linear_v|value_layer)", "value"),
    (r"(qkv_proj|qkv|c_attn|query_key_value|Wqkv|in_proj_qkv)", "qkv"),
    (r".*(attn|attention)[^.]*\.(o_proj|out_proj|out_lin|o|Wo|wo|dense)", "output"),
    (r".*attention\.output\.dense", "output"),
    (r"gate_proj", "gate"),
    (r"(up_proj|fc1|intermediate\.dense|c_fc|wi_1|wi|lin1|dense_h_to_4h|intermediate_dense)", "up"),
    (r"(down_proj|fc2|lin2|dense_4h_to_h|output_dense)", "down"),
    (r"(gate_up_proj|gate_and_up_proj)", "gate-up"),
)
#: A role and the parts of names that it agrees with: a fused layer may carry the name of one part.
#: Linear attention and other recurrences are mixers: `in` makes what is mixed, `out` reads it.
AGREE: Mapping[str, frozenset[str]] = {
    "query": frozenset({"query", "qk", "in"}),
    "key": frozenset({"key", "kv", "qk", "in"}),
    "value": frozenset({"value", "kv", "in"}),
    "qkv": frozenset({"qkv", "in"}),
    "output": frozenset({"output", "out"}),
    "gate": frozenset({"gate"}),
    "up": frozenset({"up", "gate-up"}),
    "down": frozenset({"down"}),
    "gate-up": frozenset({"gate-up"}),
}
#: Parts of a model that are no attention or MLP though their layers are named as one.
_OTHER = re.compile(
    r"(^|\.)([^.]*norm|indexer|adapter|compressor|relative_attention|bottleneck|feed_forward\.(key|value)|gate\.down_proj"
    r"|[^.]*(attn|attention)(\.[^.]+)?\.gate_proj)(\.|$)"
)


def told(path: str) -> str | None:
    """The part that a module's name tells, None where it tells none."""
    if _OTHER.search(path):
        return None
    return next(
        (part for form, part in TELLING if re.fullmatch(rf"(.*\.)?{form}", path)),
        None,
    )


def disagreements(
    linears: Iterable[str], roles: Mapping[str, list[str]]
) -> list[tuple[str, str, str]]:
    """The linears whose name tells a part that their roles don't: (path, told, found)."""
    found = []
    for path in linears:
        part = told(path)
        if part is None:
            continue
        own = {role.partition(".")[2].removeprefix("experts.") for role in roles.get(path, ())} - {
            ""
        }
        if not own & AGREE[part]:
            found.append((path, part, " ".join(sorted(own)) or "none"))
    return found
