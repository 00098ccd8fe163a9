"""`deltac plan` from the outside."""

import io
import json
import sys

import pytest
from cli_support import BAD, GOLDEN, GOOD, MODEL, SPECS, deltac


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.delta.yaml").write_text(GOOD)
    return tmp_path


def test_the_quickstart(golden, here):
    result = deltac("plan", SPECS / "quickstart.delta.yaml")
    assert (result.code, result.err) == (0, "")
    golden(GOLDEN / "plan-quickstart.txt", result.out)
    assert {each.name for each in here.iterdir()} == {"good.delta.yaml"}


def test_every_spec_of_a_folder_and_every_problem(here):
    (here / "bad.delta.yaml").write_text(BAD)
    result = deltac("plan", ".")
    assert result.code == 1
    assert result.out.startswith("tiny: LlamaForCausalLM\n")
    assert "--> bad.delta.yaml:7:" in result.err


def test_standard_input(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
    result = deltac("plan", "-")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("tiny: LlamaForCausalLM\n")


def test_no_delta_leaves_no_gap(here):
    text = f"version: 1\nname: tiny\n{MODEL}deltas: []\nheads: lm_head\n"
    (here / "good.delta.yaml").write_text(text)
    lines = deltac("plan", "good.delta.yaml").out.splitlines()
    assert lines[:2] == ["tiny: LlamaForCausalLM", ""]
    assert lines[2].startswith("trainable ")


def test_json_and_markdown():
    data = json.loads(deltac("plan", "good.delta.yaml", "--format", "json").out)
    assert data["deltas"][0]["sites"] == ["model.layers.{0-1}.self_attn.q_proj.weight"]
    text = deltac("plan", "good.delta.yaml", "--format", "markdown").out
    assert text.startswith("### tiny: LlamaForCausalLM\n")


def test_no_weights_are_read(monkeypatch):
    def read(*_, **__):
        raise AssertionError("weights were read")

    monkeypatch.setattr("deltac.api.load_base", read)
    assert deltac("plan", SPECS / "bitfit.delta.yaml").code == 0


@pytest.mark.parametrize(
    ("arguments", "code"), [(["nowhere.yaml"], "DLT831"), (["empty"], "DLT832")]
)
def test_a_path_that_is_no_spec(here, arguments, code):
    (here / "empty").mkdir()
    result = deltac("plan", *arguments)
    assert (result.code, result.out) == (2, "")
    assert f"error[{code}]" in result.err


def test_a_dead_branch_of_a_regular_expression_shows_in_the_report(here):
    """It is no entry of its own, so it can't be an error: what matched is listed, and `expect` states the number."""
    (here / "dead.delta.yaml").write_text(
        f"version: 1\n{MODEL}deltas:\n"
        "  - {operator: lora, target: {module: 're:.*\\.(q_proj|v_porj)'}}\n"
    )
    data = json.loads(deltac("plan", "dead.delta.yaml", "--format", "json").out)
    assert data["deltas"][0]["sites"] == ["model.layers.{0-1}.self_attn.q_proj.weight"]


@pytest.mark.parametrize("verb", ["plan", "compile"])
@pytest.mark.parametrize(
    ("content", "code", "place"),
    [
        (BAD.encode(), "DLT201", "--> <stdin>:7:"),
        (b"version: 1\nname: \xff\n", "DLT002", "--> <stdin>:2:7"),
        (b"version: 2\ndeltas: []\n", "DLT109", "--> <stdin>:1:"),
    ],
)
def test_faults_on_standard_input(monkeypatch, here, verb, content, code, place):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    result = deltac(verb, "-")
    assert (result.code, result.out) == (1, "")
    assert f"error[{code}]" in result.err
    assert place in result.err
    assert not (here / "build").exists()


def test_compile_takes_standard_input_and_its_bases_from_the_working_folder(monkeypatch, here):
    text = "extends: good.delta.yaml\nversion: 1\nname: piped\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    result = deltac("compile", "-")
    assert (result.code, result.err) == (0, "")
    assert (here / "build/piped/spec/stdin.delta.yaml").read_text() == text
    assert (here / "build/piped/spec/good.delta.yaml").read_text() == GOOD
    assert deltac("inspect", "build/piped").code == 0


def test_a_working_folder_outside_of_the_root(monkeypatch, here):
    (here / "deep").mkdir()
    for verb in ("validate", "plan", "compile"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(GOOD.encode())))
        result = deltac(verb, "-", "--root", "deep")
        assert result.code == 2
        assert "error[DLT862]" in result.err
