"""Mutated good specs: never a traceback, and no word said is always a valid spec.

The oracle knows nothing of deltac's checks: PyYAML's parser, and jsonschema with the committed
schema. What they refuse, deltac must refuse; deltac may refuse more.
"""

from pathlib import Path

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from deltac.diagnostics import full
from deltac.spec import load_schema, scalars
from deltac.spec.files import Folder
from deltac.spec.load import inspect_bytes

ROOT = Path(__file__).parents[2]
GOOD = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "specs").glob("*.yaml"))]
ANCHORS = (
    "version: 1\nx-rank: &rank 8\nvars: {alpha: 16}\nseed: 3\nbudget: {trainable: 2%}\n"
    "deltas:\n  - {operator: lora, target: {module: [q_proj, 're:.*v'], layers: 0-5}, rank: *rank,\n"
    '     alpha: "${alpha}", overrides: [{layers: last 2, rank: 4}]}\nheads: auto\n'
)
GOOD += [
    ANCHORS,
    "extends: base.yaml\ndeltas: [{name: lora, rank: 4}, {name: norms, remove: true}]\n",
    "extends: [base.yaml]\nvars: {rank: 2}\n",
]
BASE = (
    "version: 1\nvars: {rank: 8}\ndeltas:\n  - {operator: lora, target: {module: q}, rank: '${rank}'}\n"
    "  - {name: norms, operator: tune, target: {module: norm}}\n"
)
TOKENS = [
    *"{}[]:,-#&*!|>'\"%@`?~$\t\n\r\0\x85\u2028\ufeff\u043e\U0001f600",
    *(
        "${",
        "${a}",
        "$${",
        "<<",
        "*rank",
        "&rank ",
        "---\n",
        "...\n",
        "null",
        ".inf",
        ".nan",
        "1e999",
    ),
    *("re:(a+)+$", "re:(", "**", "../../x", "/etc", "x-", "extends: base.yaml\n", "vars: {a: 1}\n"),
    *("remove: true", "true", "0x10", "!!str ", "!env ", "9" * 400, "version: 1\n", "deltas: []\n"),
]


@st.composite
def mutated(draw):
    text = draw(st.sampled_from(GOOD))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(["insert", "delete", "replace", "repeat", "line", "move"]))
        lines = text.splitlines(keepends=True)
        if kind == "insert":
            text = text[:start] + draw(st.sampled_from(TOKENS)) + text[start:]
        elif kind == "delete":
            text = text[:start] + text[end:]
        elif kind == "replace":
            text = text[:start] + draw(st.sampled_from(TOKENS)) + text[end:]
        elif kind == "repeat":
            text = text[:end] + text[start:]
        elif lines:
            at, to = (draw(st.integers(0, len(lines) - 1)) for _ in range(2))
            line = lines[at] if kind == "line" else lines.pop(at)
            lines.insert(to, line)
            text = "".join(lines)
    return text


class Oracle(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """PyYAML without the guesses of YAML 1.1: plain scalars are those of 1.2."""

    yaml_implicit_resolvers = {}  # noqa: RUF012 - as PyYAML declares it


def plain(loader, node):
    return node.value if node.style else scalars.resolve(node.value)


Oracle.add_constructor("tag:yaml.org,2002:str", plain)


def is_valid(text):
    """Whether a text is YAML, and by the schema a spec."""
    try:
        data = yaml.load(text, Oracle)
    except (yaml.YAMLError, ValueError, RecursionError, TypeError):
        return False
    return Draft7Validator(load_schema()).is_valid(data)


@given(mutated())
@settings(max_examples=600, deadline=None)
def test_text(tmp_path_factory, text):
    folder = tmp_path_factory.getbasetemp()
    (folder / "base.yaml").write_text(BASE)
    content = text.encode("utf-8", "surrogatepass")
    spec, problems = inspect_bytes(content, "a.delta.yaml", place=(Folder(folder), "a.delta.yaml"))
    full.render(problems)
    errors = [each for each in problems if each.severity == "error"]
    assert (spec is None) == bool(errors)
    # Before a variable is replaced, the schema refuses it where it asks for a number.
    if not errors and "${" not in text:
        assert is_valid(text), text


@given(st.binary(max_size=60))
@settings(max_examples=200, deadline=None)
def test_bytes(content):
    spec, problems = inspect_bytes(content, "a.delta.yaml")
    full.render(problems)
    assert spec is None
    assert problems


def test_the_good_specs_are_good(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE)
    for text in GOOD:
        spec, problems = inspect_bytes(
            text.encode(), "a.delta.yaml", place=(Folder(tmp_path), "a.delta.yaml")
        )
        assert spec is not None, full.render(problems)
