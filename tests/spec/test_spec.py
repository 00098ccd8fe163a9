"""A checked document becomes a `Spec`; each path in it leads back to the text."""

from pathlib import Path

import pytest
from golden_support import FRAGMENTS
from hypothesis import given, settings
from hypothesis import strategies as st

from deltac.diagnostics import DeltacError
from deltac.spec import Budget, Spec, load_spec, validate
from deltac.spec.budget import parse_bytes

WHOLE = """\
version: 1
name: whole
description: Every key once.
model:
  source: bert
  revision: "1234567"
  config_file: bert.json
  class: AutoModel
  config: {num_labels: 3, id2label: {"0": a}}
  dtype: bfloat16
  attn_implementation: sdpa
deltas:
  - name: first
    operator: lora
    target:
      module: [q_proj, v_proj]
      class: Linear
      parameter: weight
      layers: [0-5, -1]
      exclude: /vision.**
      expect: 24
    overrides:
      - {layers: last 2, rank: 16}
    overlap: true
    dtype: base
    rank: 4
    alpha: 1e-4
  - operator: bitfit
    target: {module: "**"}
heads: [score]
seed: 3
budget: {trainable: 2%, bytes: 1.5MB}
"""


def load(text):
    return load_spec(text, fragments=FRAGMENTS)


def test_every_key():
    spec = load(WHOLE)
    assert (spec.version, spec.name, spec.seed, spec.heads) == (1, "whole", 3, ("score",))
    assert spec.budget == Budget(None, 2.0, 1_500_000)
    assert spec.model.class_name == "AutoModel"
    assert spec.model.config == {"num_labels": 3, "id2label": {"0": "a"}}
    first, second = spec.deltas
    assert (first.name, first.operator, first.overlap, first.dtype) == (
        "first",
        "lora",
        True,
        "base",
    )
    assert first.options == {"rank": 4, "alpha": 1e-4}
    assert first.target.module == ("q_proj", "v_proj")
    assert first.target.class_name == ("Linear",)
    assert first.target.layers == ("0-5", -1)
    assert first.target.exclude == ("/vision.**",)
    assert first.target.expect == 24
    assert first.overrides[0].target.layers == ("last 2",)
    assert first.overrides[0].options == {"rank": 16}
    assert (second.name, second.dtype, second.overlap) == ("bitfit", "float32", False)


def test_paths_lead_to_the_text():
    spec = load(WHOLE)
    target = spec.deltas[0].target
    assert spec.span((*target.path, "module", 1)).text == "v_proj"
    assert spec.span((*target.path, "class", 0)).text == "Linear"
    assert spec.span((*spec.deltas[0].overrides[0].path, "rank")).text == "16"
    assert spec.key_span((*spec.model.path, "dtype")).text == "dtype"


def test_defaults():
    spec = load("version: 1\ndeltas: []\n")
    assert (spec.name, spec.heads, spec.seed, spec.budget, spec.model) == (
        "unnamed",
        "auto",
        0,
        None,
        None,
    )


@pytest.mark.parametrize(
    ("heads", "expected"),
    [("auto", "auto"), ("[]", ()), ("score", ("score",)), ("[auto]", ("auto",))],
)
def test_heads(heads, expected):
    assert load(f"version: 1\ndeltas: []\nheads: {heads}\n").heads == expected


def test_options_are_copies():
    spec = load(WHOLE)
    spec.model.config["num_labels"] = 4
    assert spec.document.data["model"]["config"]["num_labels"] == 3


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("a.delta.yaml", "a"),
        ("b.c.yaml", "b.c"),
        ("my spec.delta.yaml", "my-spec"),
        ("-.yml", "unnamed"),
    ],
)
def test_a_spec_is_named_after_its_file(tmp_path, file, name):
    path = tmp_path / file
    path.write_text("version: 1\ndeltas: []\n")
    assert load_spec(path, fragments=FRAGMENTS).name == name
    assert load_spec(str(path), fragments=FRAGMENTS).name == name


def test_a_dict_is_a_spec():
    target = {"module": ("q_proj", "*_v"), "layers": "first 2"}
    spec = load_spec(
        {"version": 1, "deltas": [{"operator": "lora", "target": target, "alpha": 1e-5}]},
        fragments=FRAGMENTS,
    )
    assert spec.deltas[0].target.module == ("q_proj", "*_v")
    assert spec.deltas[0].options == {"alpha": 1e-5}


def test_a_dict_with_a_fault_shows_where():
    found = validate({"version": 1, "deltas": [], "sead": 1}, fragments=FRAGMENTS)
    assert [(each.code, each.span.text) for each in found] == [("DLT101", "sead")]


def test_a_missing_file():
    with pytest.raises(DeltacError) as caught:
        load_spec(Path("nowhere.delta.yaml"))
    assert caught.value.diagnostics[0].code == "DLT831"
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("text", "count"),
    [("1KB", 1000), ("1.5 MiB", 1572864), ("2 GB", 2 * 10**9), ("10B", 10), ("0.1GB", 10**8)],
)
def test_sizes(text, count):
    assert parse_bytes(text) == count


MARKS = ["", "#", "*", "&a", "*a", "!x", "[", "]", "{", "}", ":", ": ", "- ", "\n", "\t", "'", '"']
VALUES = ["null", "true", ".nan", "-1", "1e999", "0", "${X}", "re:", "<<", "|", "é", "\x00", ","]
KEYS = ["operator", "overrides", "rank", "r", "module", "layers", "name", "9" * 400]
noise = st.sampled_from([*MARKS, *VALUES, *KEYS])


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_spec_gives_a_spec_or_problems(data):
    text = WHOLE
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(text)))
        end = data.draw(st.integers(start, min(len(text), start + 20)))
        text = text[:start] + data.draw(noise) + text[end:]
    try:
        assert isinstance(load(text + "\n"), Spec)
    except DeltacError as error:
        assert error.diagnostics
        assert error.exit_code == 1
        assert str(error)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_spec_with_another_value_somewhere_gives_a_spec_or_problems(data):
    odd = st.sampled_from(
        [None, True, 0, -1, 2.5, float("nan"), "", "x", [], [[]], {}, {"a": None}]
    )
    document = load(WHOLE).document.data
    node = document
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(node[key], dict | list) and data.draw(st.booleans()):
            node = node[key]
            continue
        node[key] = data.draw(odd)
        break
    try:
        assert isinstance(load_spec(document, fragments=FRAGMENTS), Spec)
    except DeltacError as error:
        assert all(each.span for each in error.diagnostics)
