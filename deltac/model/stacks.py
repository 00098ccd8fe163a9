"""What each stack of blocks is called: by what enters it, and by what its attention may look at."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import transformers
from torch import fx

from deltac.spec import STACKS, Pattern

if TYPE_CHECKING:
    from deltac.model.graph import ModelGraph

#: Model inputs → what they bring; the first that reaches a stack names it.
_INPUTS = (
    ("text", ("input_ids", "decoder_input_ids")),
    ("vision", ("pixel_values", "pixel_values_videos")),
    ("audio", ("input_features", "input_values", "audio_values")),
)


def stack_words(graph: ModelGraph) -> Mapping[str, tuple[str, ...]]:
    """The words for each stack of blocks, by its path.

    `text`, `vision` or `audio` is what enters it; text wins where pictures or sounds were put between tokens. A
    `decoder` reads another stack by cross-attention, or each of its positions only sees those before it; any other
    stack with attention or a mixer is an `encoder`.
    """
    reached = _inputs_of(graph)
    decoders, encoders = _by_attention(graph)
    found = {}
    for stack in graph.stacks:
        words = ["decoder"] if stack in decoders else ["encoder"] if stack in encoders else []
        names = reached.get(stack, frozenset())
        words += [word for word, inputs in _INPUTS if names.intersection(inputs)][:1]
        found[stack] = tuple(word for word in STACKS if word in words)
    return found


def matching_stacks(graph: ModelGraph, entry: str) -> set[str]:
    """The paths of the stacks that an entry of `stack` means: one of the words, or a pattern of their paths."""
    if entry in STACKS:
        return {path for path, words in graph.stack_words.items() if entry in words}
    pattern = Pattern.parse(entry)
    return {path for path in graph.stacks if pattern.matches(path)}


def _inputs_of(graph: ModelGraph) -> dict[str, frozenset[str]]:
    """The model inputs that each stack's values are computed from."""
    own: dict[fx.Node, frozenset[str]] = {}
    found: dict[str, frozenset[str]] = {}
    for node in graph.trace.graph.nodes:
        parents = {own[parent] for parent in node.all_input_nodes}
        own[node] = next(iter(parents)) if len(parents) == 1 else frozenset().union(*parents)
        if node.op == "placeholder":
            own[node] = frozenset([str(node.target)])
        place = graph.stack_at(node.meta.get("scope"))
        if place is not None and not own[node] <= found.get(place[0], frozenset()):
            found[place[0]] = found.get(place[0], frozenset()) | own[node]
    return found


def _by_attention(graph: ModelGraph) -> tuple[set[str], set[str]]:
    """The stacks that decode, and all that have an attention or a mixer."""
    roles, calls = graph.roles, graph.attentions
    mixers = roles.paths("mixer")
    all_of_them = _stacks(graph, [*mixers, *(call.scope for call in calls)])
    causal = [call.scope for call in calls if _is_causal(graph, call.scope, call.output)]
    if _generates(graph):
        causal += mixers
    return _stacks(graph, [*causal, *roles.paths("cross-attention")]), all_of_them


def _stacks(graph: ModelGraph, paths: Iterable[str]) -> set[str]:
    return {place[0] for path in paths if (place := graph.stack_at(path)) is not None}


def _is_causal(graph: ModelGraph, scope: str, output: fx.Node) -> bool:
    """transformers' attention modules say so; of one that doesn't, the config has a causal language model."""
    said = getattr(graph.model.get_submodule(scope), "is_causal", None)
    return bool(output.kwargs.get("is_causal") or (_generates(graph) if said is None else said))


def _generates(graph: ModelGraph) -> bool:
    config = type(graph.config)
    return config in transformers.AutoModelForCausalLM._model_mapping and not (
        graph.config.is_encoder_decoder
    )
