"""Every operator of the registry obeys every law; operators that break one are found."""

from pathlib import Path

import broken_operators
import pytest
import yaml
from law_cases import CASES

import deltac
from deltac.operators import builtin, fragments
from deltac.spec import load_spec
from deltac.testing import LAWS, check_declaration, check_operator

SPECS = sorted((Path(__file__).parents[2] / "specs").glob("*.delta.yaml"))
SCHEMA = "../schemas/deltac-spec.v1.schema.json"


def _name(case):
    options = "-".join(f"{key}={value}" for key, value in case.options)
    return "-".join(part for part in (case.operator.name, case.base, options) if part)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__.removeprefix("check_"))
@pytest.mark.parametrize("case", CASES, ids=_name)
def test_law(case, law):
    law(case)


@pytest.mark.parametrize("name", builtin())
def test_each_operator_is_tried_on_a_base(name):
    assert [case for case in CASES if case.operator.name == name]


def test_the_bases_cover_what_the_operators_take():
    bases = {
        name: {case.base for case in CASES if case.operator.name == name} for name in builtin()
    }
    linears = {"linear", "linear-without-bias", "conv1d"}
    assert bases["lora"] == linears | {"embedding"}
    assert bases["adapter"] >= linears | {"tuple", "layer-norm", "rms-norm"}
    assert bases["bitfit"] >= {"linear", "conv1d", "layer-norm", "tuple"}
    added = {case.base for case in CASES if ("add", True) in case.options}
    assert added == {"linear", "linear-without-bias"}
    assert bases["tune"] >= linears | {"embedding", "layer-norm", "rms-norm", "tuple"}


@pytest.mark.parametrize("name", builtin())
def test_declaration(name):
    check_declaration(builtin()[name].operator)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.name)
def test_ready_spec_compiles(path, tmp_path):
    first = path.read_text(encoding="utf-8").splitlines()[0]
    assert first == f"# yaml-language-server: $schema={SCHEMA}"
    assert (path.parent / SCHEMA).is_file()
    if load_spec(path).deltas[0].operator == "adapter-fusion":
        compiled = deltac.compile(_beside_trained_adapters(path, tmp_path))
    else:
        compiled = deltac.compile(path)
    assert compiled.manifest["name"] == path.name.removesuffix(".delta.yaml")
    assert compiled.manifest["counts"]["delta"] > 0


def _beside_trained_adapters(path, folder):
    """A copy of the spec with the artifacts that it names."""
    copied = folder / "specs" / path.name
    copied.parent.mkdir()
    copied.write_bytes(path.read_bytes())
    document = load_spec(path).document.data
    spec = {"version": 1, "extends": "preset:pfeiffer", "model": document["model"]}
    file = copied.with_name("pfeiffer.delta.yaml")
    file.write_text(yaml.safe_dump(spec), encoding="utf-8")
    for adapters in document["deltas"][0]["adapters"]:
        deltac.compile(file).save(copied.parent / adapters)
    return copied


@pytest.mark.parametrize("name", builtin())
def test_each_operator_has_a_ready_spec(name):
    first = [load_spec(path).deltas[0].operator for path in SPECS]
    assert name in first


def test_check_operator_passes_the_smallest_built_in():
    check_operator(builtin()["tune"].operator)


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (broken_operators.Moves, "check_identity"),
        (broken_operators.Idle, "no effect"),
        (broken_operators.Picky, "accepts none"),
        (broken_operators.Unbounded, "no lower bound"),
    ],
)
def test_check_operator_finds_a_broken_one(operator, message):
    with pytest.raises(AssertionError, match=message):
        check_operator(operator)


def test_an_operator_under_test_is_forgotten():
    with pytest.raises(AssertionError):
        check_operator(broken_operators.Idle)
    assert "broken" not in fragments()
    spec = {"version": 1, "deltas": [{"operator": "broken", "target": {"module": "x"}}]}
    assert [each.code for each in deltac.validate(spec)] == ["DLT107"]
