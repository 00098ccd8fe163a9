"""Patterns of paths match whole segments; ranges of layers stay inside the stack."""

import pytest

from deltac.spec.target import LayerRange, OutOfRangeError, Pattern, TargetError


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("q_proj", "q_proj", True),
        ("q_proj", "layers.0.self_attn.q_proj", True),
        ("self_attn.q_proj", "layers.0.self_attn.q_proj", True),
        ("attn", "layers.0.self_attn", False),
        ("score", "zscore", False),
        ("norm", "input_layernorm", False),
        ("q_proj", "q_proj.lora", False),
        ("q_*", "layers.0.q_proj", True),
        ("*_proj", "layers.0.q_proj", True),
        ("*", "layers", True),
        ("layers.*.q_proj", "model.layers.0.q_proj", True),
        ("layers.*.q_proj", "model.layers.0.attn.q_proj", False),
        ("layers.**.q_proj", "model.layers.0.attn.q_proj", True),
        ("layers.**.q_proj", "layers.q_proj", True),
        ("layers.**.q_proj", "mylayers.q_proj", False),
        ("encoder.**", "model.encoder.layer.0", True),
        ("encoder.**", "encoder", True),
        ("encoder.**", "encoders.x", False),
        ("**", "anything.at.all", True),
        ("/q_proj", "q_proj", True),
        ("/q_proj", "layers.q_proj", False),
        ("/model.**.q", "model.a.b.q", True),
        ("/**.q", "a.q", True),
        ("re:.*\\.[0-5]\\.q", "layers.5.q", True),
        ("re:[0-5]", "10", False),
        ("re:q", "layers.q", False),
        ("a.b", "aXb", False),
    ],
)
def test_patterns(pattern, path, matches):
    assert Pattern.parse(pattern).matches(path) is matches


@pytest.mark.parametrize("text", ["", "/", "a..b", ".a", "a.", "a**", "***", "a b", "q|v", "a,b"])
def test_bad_patterns(text):
    with pytest.raises(TargetError) as caught:
        Pattern.parse(text)
    assert caught.value.code == "DLT112"


@pytest.mark.parametrize("text", ["re:", "re:(", "re:[[a]", "re:" + "(" * 900, "re:a{99999999999}"])
def test_bad_expressions(text):
    with pytest.raises(TargetError) as caught:
        Pattern.parse(text)
    assert caught.value.code == "DLT113"


@pytest.mark.parametrize(
    ("value", "count", "indices"),
    [
        (3, 5, [3]),
        ("3", 5, [3]),
        (-1, 5, [4]),
        (-5, 5, [0]),
        ("0-5", 6, [0, 1, 2, 3, 4, 5]),
        ("2-2", 6, [2]),
        ("first 4", 6, [0, 1, 2, 3]),
        ("last 2", 6, [4, 5]),
        ("last 25%", 6, [4, 5]),
        ("first 1%", 6, [0]),
        ("first 100%", 2, [0, 1]),
        ("last 33.4%", 3, [1, 2]),
        ("last 10%", 30, [27, 28, 29]),
    ],
)
def test_layers(value, count, indices):
    assert LayerRange.parse(value).indices(count) == indices


@pytest.mark.parametrize(
    ("value", "count"), [(99, 2), (-3, 2), ("0-2", 2), ("first 9", 6), ("last 2", 1), (0, 0)]
)
def test_layers_that_the_stack_does_not_have(value, count):
    with pytest.raises(OutOfRangeError, match=f"`{value}`: the stack has {count} layer"):
        LayerRange.parse(value).indices(count)


@pytest.mark.parametrize(
    "value", ["", "x", "5-0", "first 0", "last 0%", "last 101%", "0..5", "all", "1,2", "٣", "-1-3"]
)
def test_bad_layers(value):
    with pytest.raises(TargetError) as caught:
        LayerRange.parse(value)
    assert caught.value.code == "DLT114"
