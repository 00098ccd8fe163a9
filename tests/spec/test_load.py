"""Operators of installed packages are asked for only when a spec names them."""

import pytest

from deltac.spec import installed as installed_module
from deltac.spec import load_spec, validate

SPEC = "version: 1\ndeltas:\n  - {operator: theirs, target: {module: q_proj}, width: 3}\n"
FRAGMENT = {
    "description": "Of another package.",
    "properties": {"width": {"description": "Width.", "type": "integer", "maximum": 8}},
    "required": ["width"],
}


class Point:
    name = "theirs"


@pytest.fixture
def installed(monkeypatch):
    monkeypatch.setattr(installed_module, "entry_points", lambda group: [Point()])


def codes(text, hook):
    return [each.code for each in validate(text, extra_fragment=hook)]


def test_an_installed_operator_is_known(installed):
    spec = load_spec(SPEC, extra_fragment=lambda name: FRAGMENT)
    assert spec.deltas[0].options == {"width": 3}


def test_its_options_are_checked(installed):
    assert codes(SPEC.replace("width: 3", "width: 9"), lambda name: FRAGMENT) == ["DLT104"]
    assert codes(SPEC.replace("width: 3", "rank: 9"), lambda name: FRAGMENT) == ["DLT106", "DLT101"]


def test_a_package_that_fails_is_reported_as_such(installed):
    def fails(name):
        raise ImportError("no module named missing")

    found = validate(SPEC, extra_fragment=fails)
    assert [each.code for each in found] == ["DLT815"]
    assert "no module named missing" in found[0].message


@pytest.mark.parametrize("properties", [{"name": {}}, {"width": {"type": "int"}}])
def test_a_package_with_a_broken_schema_is_reported_as_such(installed, properties):
    fragment = {"description": "", "properties": properties}
    assert codes(SPEC, lambda name: fragment) == ["DLT815"]


def test_nothing_is_imported_for_built_in_operators(installed):
    def never(name):
        raise AssertionError(name)

    assert codes(SPEC.replace("theirs", "lora").replace("width", "rank"), never) == []


def test_an_operator_that_nobody_has(installed):
    assert codes(SPEC.replace("theirs", "nobodys"), lambda name: FRAGMENT) == ["DLT107"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("version: 1\ndelta:\n  - {operator: lora, target: {module: a}}\n", ["DLT101"]),
        ("version: 1\ndeltas:\n  - {operator: lora, taget: {module: a}}\n", ["DLT101"]),
        ("version: 1\ndeltas:\n  - {operator: lora, target_modules: [a]}\n", ["DLT102"]),
        ("deltas:\n  - {operator: lora, rnak: 8}\n", ["DLT101", "DLT106", "DLT106"]),
        ("version: 1\nvars: {a: 8}\ndescription: ${a\ndeltas: []\n", ["DLT124"]),
    ],
)
def test_one_slip_is_one_fault(text, expected):
    assert sorted(each.code for each in validate(text)) == expected


def test_a_text_without_a_line_break_is_told_from_a_path():
    (found,) = validate("version: 1")
    assert (found.code, found.fix) == ("DLT831", "a spec given as text has a line break")
    (found,) = validate("nowhere.delta.yaml")
    assert (found.code, found.fix) == ("DLT831", None)
