"""Each format, on the same specs: the whole text, and what its readers ask of it."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from golden_support import FRAGMENTS

from deltac.diagnostics import CODES, Diagnostic, Source, concise, full, github, junit, sarif
from deltac.diagnostics import json as as_json
from deltac.spec.load import inspect_bytes

TESTS = Path(__file__).parents[1]
SPECS = sorted((TESTS / "golden" / "formats").glob("*.delta.yaml"))
RENDERERS = {
    "full": full.render,
    "concise": concise.render,
    "json": as_json.render,
    "github": github.render,
    "sarif": sarif.render,
    "junit": lambda found: junit.render(found, [path.name for path in SPECS]),
}
SARIF_SCHEMA = json.loads((TESTS / "data" / "sarif-schema-2.1.0.json").read_text())


def diagnose(path, change=lambda content: content):
    content = change(path.read_bytes())
    return list(inspect_bytes(content, path.name, fragments=FRAGMENTS)[1])


def everything():
    """All diagnostics of the three specs, one without a place, one of several lines, one at the very end."""
    source = Source("a b/é%.yaml", "first\nsecond\n")
    found = [each for path in SPECS for each in diagnose(path)]
    return [
        *found,
        Diagnostic("DLT831", "can't read nowhere"),
        Diagnostic("DLT101", "over\nlines", source.span(1, 9), ("a note\nof two lines",), "a fix"),
        Diagnostic("DLT206", "at the end", source.span(13, 13)),
        Diagnostic("DLT003", "\ufffe\uffff\0", source.span(0, 1)),
    ]


@pytest.mark.parametrize("name", RENDERERS)
@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name.split(".")[0])
def test_the_whole_text(path, name, golden):
    text = RENDERERS[name](diagnose(path)) + "\n"
    golden(path.with_name(f"{path.name.removesuffix('.delta.yaml')}.{name}.txt"), text)


@pytest.mark.parametrize("name", RENDERERS)
def test_no_text_writes_to_the_terminal(name):
    text = RENDERERS[name](everything())
    if name == "json":  # escapes are JSON's own; a reader gets the text as it was
        text = "".join(char for char in text if char not in "\u202e\ufffe\uffff")
    assert all(char.isprintable() or char in "\n\ufffe\uffff" for char in text)


def test_concise_is_a_line_each():
    lines = concise.render(everything()).splitlines()
    assert len(lines) == len(everything())
    assert lines[-3] == "a b/é%.yaml:1:2: error[DLT101] unknown-key: over lines (a fix)"
    assert lines[-4] == "error[DLT831] file-not-found: can't read nowhere"


def test_json_follows_its_schema():
    checked = {"a": {"checked": "schema", "reason": "why"}, "b": {"checked": "schema and model"}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(as_json.to_object(everything(), checked), as_json.schema())
    checked["b"]["reason"] = None
    jsonschema.validate(as_json.to_object(everything(), checked), as_json.schema())


def test_a_workflow_command_is_one_line_with_escapes():
    lines = github.render(everything()).splitlines()
    assert len(lines) == len(everything())
    assert all(re.match(r"::(error|warning) [^:]*::", line) for line in lines)
    assert lines[-3] == (
        "::error file=a b/é%25.yaml,line=1,col=2,endLine=1,endColumn=6,title=DLT101 unknown-key"
        "::over%0Alines%0Anote: a note%0Aof two lines%0Ahelp: a fix"
    )
    assert lines[-4] == "::error title=DLT831 file-not-found::can't read nowhere"


def test_sarif_follows_the_official_schema():
    validator = jsonschema.Draft7Validator(SARIF_SCHEMA)
    assert list(validator.iter_errors(sarif.to_object(everything()))) == []
    assert list(validator.iter_errors(sarif.to_object([]))) == []
    assert not validator.is_valid({**sarif.to_object([]), "version": "2.0.0"})


def test_sarif_takes_every_rule_from_the_catalogue():
    run = sarif.to_object([Diagnostic(code, "x") for code in reversed(CODES)])["runs"][0]
    jsonschema.validate({"version": "2.1.0", "runs": [run]}, SARIF_SCHEMA)
    rules = run["tool"]["driver"]["rules"]
    assert [rule["id"] for rule in rules] == list(CODES)
    for rule, entry in zip(rules, CODES.values(), strict=True):
        assert rule["defaultConfiguration"] == {"level": entry.severity}
        assert rule["fullDescription"]["text"] == entry.meaning
        assert rule["help"]["text"].startswith(entry.meaning)
        assert ("Wrong:" in rule["help"]["markdown"]) == bool(entry.wrong)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def fingerprints(found):
    return [each["partialFingerprints"] for each in sarif.to_object(found)["runs"][0]["results"]]


def test_fingerprints_stay_when_lines_move_and_differ_from_each_other():
    path = SPECS[0]
    before = fingerprints(diagnose(path))
    moved = fingerprints(diagnose(path, lambda text: b"# a comment\n\n" + text))
    assert before == moved
    assert len({str(each) for each in before}) == len(before) > 3
    changed = fingerprints(diagnose(path, lambda text: text.replace(b"lroa", b"lrao")))
    assert len([1 for a, b in zip(before, changed, strict=True) if a != b]) == 1


def test_uris_are_relative_and_quoted(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert sarif.uri(str(tmp_path / "a b" / "é%.yaml")) == "a%20b/%C3%A9%25.yaml"
    assert sarif.uri("/elsewhere/x.yaml") == "file:///elsewhere/x.yaml"
    assert sarif.uri("<stdin>") == "%3Cstdin%3E"


def test_junit_counts_files():
    names = [path.name for path in SPECS]
    root = ElementTree.fromstring(junit.render(everything(), ["fine.delta.yaml", *names]))
    (suite,) = root
    cases = {case.get("name"): [child.tag for child in case] for case in suite}
    assert cases == {
        "fine.delta.yaml": [],
        "faults.delta.yaml": ["failure"],
        "hostile.delta.yaml": ["failure"],
        "warning.delta.yaml": ["system-out"],
        junit.CALL: ["failure"],
        "a b/é%.yaml": ["failure", "system-out"],
    }
    for element in (root, suite):
        assert [element.get(key) for key in ("tests", "failures", "errors")] == ["6", "4", "0"]
    failure = suite.find("testcase[@name='faults.delta.yaml']/failure")
    assert "DLT107 unknown-operator" in failure.get("message")
    assert "error[DLT107] unknown-operator: " in failure.text


@pytest.mark.parametrize("name", ["concise", "github"])
def test_without_diagnostics_a_text_is_empty(name):
    assert RENDERERS[name]([]) == ""
