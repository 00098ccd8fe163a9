"""What a pattern that matches nothing may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from deltac.model.fold import joined, shown
from deltac.model.graph import ModelGraph
from deltac.model.role_places import present_roles
from deltac.spec import Pattern

_CLOSE = 0.6
#: A second suggestion is worth a word only where it is about as near as the first.
_AS_CLOSE = 0.1
#: Modules by the names that other models give them: the role that means the same on every model.
_KNOWN_AS = {
    "linear": ("all-linear", "all_linear"),
    "attention.query": ("q_proj", "query", "q_lin", "wq", "to_q"),
    "attention.key": ("k_proj", "key", "k_lin", "wk", "to_k"),
    "attention.value": ("v_proj", "value", "v_lin", "wv", "to_v"),
    "attention.output": ("o_proj", "out_proj", "out_lin", "wo", "to_out"),
    "attention.qkv": ("c_attn", "query_key_value", "qkv_proj", "qkv", "wqkv"),
    "mlp.gate": ("gate_proj",),
    "mlp.up": ("up_proj", "fc1", "c_fc", "dense_h_to_4h"),
    "mlp.down": ("down_proj", "fc2", "dense_4h_to_h"),
    "mlp.gate-up": ("gate_up_proj",),
}


def endings(word: str, paths: Sequence[str], *, paths_shown: bool = True) -> str | None:
    """The question whether one of the nearest patterns was meant; None where none is near.

    Args:
        word: the pattern as written.
        paths: what it could have matched.
        paths_shown: whether to say which paths each suggestion matches.

    >>> endings("valeu", ["h.0.query", "h.1.query", "h.0.value", "h.1.value"])
    "did you mean 'value' (h.{0-1}.value)?"
    """
    if word.startswith("/") and any(Pattern.parse(word[1:]).matches(path) for path in paths):
        return f"did you mean '{word[1:]}'? A slash at the front anchors at the root"
    length = len(word.split("."))
    found: dict[str, list[str]] = {}
    for path in paths:
        found.setdefault(".".join(path.split(".")[-length:]), []).append(path)
    named = []
    for name in _nearest(word.strip("/"), list(found)):
        where = f" ({shown(found[name], 3)})" if paths_shown and found[name] != [name] else ""
        named.append(f"'{name}'{where}")
    return f"did you mean {' or '.join(named)}?" if named else None


def other_key(graph: ModelGraph, key: str, word: str) -> str | None:
    """What to write where a module's name stands under `parameter`, or a parameter's under `module`."""
    pattern = Pattern.parse(word)
    if key == "parameter" and any(pattern.matches(path) for path in graph.modules if path):
        return f"it names modules: write 'module: {word}', or a parameter's full ending such as '{word}.weight'"
    if key == "module" and any(pattern.matches(name) for name in (*graph.parameters, *graph.tied)):
        return f"it names parameters: write 'parameter: {word}'"
    return None


def role_known_as(graph: ModelGraph, word: str) -> str | None:
    """What to write in place of a name that modules like those of this model have elsewhere; None for other words."""
    role = next((role for role, names in _KNOWN_AS.items() if word.lower() in names), None)
    if role is None:
        return None
    if role in present_roles(graph):
        return f"write 'role: {role}', which finds them on every model"
    return nearest_role(graph, role)[0] if role.endswith(("qkv", "gate-up")) else None


def nearest_role(graph: ModelGraph, role: str) -> tuple[str | None, list[str]]:
    """What to write in place of a role that no module of the model has, and a note on the roles that there are."""
    region, _, part = role.rpartition(".")
    present = present_roles(graph)
    siblings = [each for each in present if each.startswith(region + ".")] if region else []
    fused = {"qkv": ("query", "key", "value"), "qk": ("query", "key"), "kv": ("key", "value")}
    separate = [f"{region}.{each}" for each in fused.get(part, ())]
    if separate and set(separate) <= set(present):
        return f"they are separate here: write 'role: [{', '.join(separate)}]'", []
    if siblings:
        return f"the {region} of this model has {joined(siblings)}", []
    found = difflib.get_close_matches(role, present, n=1, cutoff=_CLOSE)
    note = f"roles in this model: {', '.join(present) or 'none'}"
    return f"did you mean '{found[0]}'?" if found else None, [note]


def weights_of(graph: ModelGraph) -> list[str]:
    """The paths of the modules whose own weight is a matrix."""
    return [
        path
        for path, info in graph.modules.items()
        if path and "weight" in info.parameters and len(info.parameters["weight"].shape) == 2
    ]


def _nearest(word: str, names: list[str]) -> list[str]:
    """The names that hold the word, else those that look like it, nearest first."""
    holding = [name for name in names if len(word) > 2 and word.lower() in name.lower()]
    if holding:
        return sorted(holding, key=len)[:2]
    close = difflib.get_close_matches(word, names, n=2, cutoff=_CLOSE)
    scores = [difflib.SequenceMatcher(None, name, word).ratio() for name in close]
    best = max(scores, default=0.0)
    return [name for name, score in zip(close, scores, strict=True) if score > best - _AS_CLOSE]
