"""`--set` and `--root` on the command line."""

import json

import pytest
from click.testing import CliRunner

from deltac.cli._output import Output
from deltac.cli.main import _run

SPEC = """version: 1
vars: {rank: null}
model: {config: {model_type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2,
  intermediate_size: 64, vocab_size: 100}, class: AutoModel}
deltas:
  - {operator: lora, target: {module: query}, rank: "${rank}"}
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.delta.yaml").write_text(SPEC)

    def call(*arguments):
        code = _run(list(arguments), Output())
        return code, *capfd.readouterr()

    return call


def test_validate(call):
    assert call("validate", "a.delta.yaml")[0] == 1
    assert call("validate", "a.delta.yaml", "--set", "rank=4")[0] == 0
    code, _, errors = call("validate", "a.delta.yaml", "--set", "rank='4'")
    assert code == 1
    assert "DLT103" in errors
    code, _, errors = call("validate", "a.delta.yaml", "--set", "rank=4", "--set", "rnak=4")
    assert code == 2
    assert "did you mean `rank`?" in errors


@pytest.mark.parametrize("pairs", [["rank"], ["=4"], ["rank=4", "rank=5"]])
def test_a_wrong_set(call, pairs):
    code, _, errors = call("validate", "a.delta.yaml", *(x for p in pairs for x in ("--set", p)))
    assert code == 2
    assert "DLT861" in errors


def test_plan_and_compile(call, tmp_path):
    code, out, _ = call("plan", "a.delta.yaml", "--set", "rank=4", "--format", "json")
    assert code == 0
    assert json.loads(out)["counts"]["delta"] == 2 * 2 * 4 * 32
    assert call("compile", "a.delta.yaml", "--set", "rank=2", "-o", "out")[0] == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["spec"]["made_from"]["variables"] == {"rank": 2}


def test_root(call, tmp_path):
    (tmp_path / "base.yaml").write_text("version: 1\n")
    (tmp_path / "deep").mkdir()
    text = "extends: ../base.yaml\ndeltas: [{operator: lora, target: {module: q}}]\n"
    (tmp_path / "deep" / "b.delta.yaml").write_text(text)
    assert call("validate", "deep/b.delta.yaml")[0] == 1
    assert call("validate", "deep/b.delta.yaml", "--root", ".")[0] == 0


def test_standard_input_extends_from_the_working_folder(tmp_path, monkeypatch):
    from deltac.cli.validate import command

    monkeypatch.chdir(tmp_path)
    (tmp_path / "base.yaml").write_text("version: 1\n")
    text = "extends: base.yaml\ndeltas: [{operator: lora, target: {module: q}}]\n"
    result = CliRunner().invoke(command, ["-"], input=text, obj=Output(), standalone_mode=False)
    assert result.return_value in (0, None), result.output
