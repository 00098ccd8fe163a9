"""Project settings on the command line."""

from pathlib import Path

import pytest

from deltac.cli._output import Output
from deltac.cli.main import _run

SPEC = """version: 1
model: {config: {model_type: bert, hidden_size: 32, num_hidden_layers: 2, num_attention_heads: 2,
  intermediate_size: 64, vocab_size: 100}, class: AutoModel}
deltas:
  - {operator: lora, target: {module: query}, rank: 4}
"""


@pytest.fixture
def call(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "a.delta.yaml").write_text(SPEC)

    def call(settings, *arguments):
        Path("deltac.toml").write_text(settings)
        cache = ["--no-cache"] if arguments[0] == "validate" else []
        code = _run([*arguments, *cache], Output())
        return code, *capfd.readouterr()

    return call


def test_validate_takes_the_specs_of_the_settings(call):
    code, out, _ = call('specs = ["specs"]', "validate")
    assert (code, out) == (0, "specs/a.delta.yaml: ok (checked: schema and model)\n")
    assert call("", "validate")[0] == 2


def test_the_projects_budget(call):
    code, _, errors = call("[policy]\nbudget = {trainable = 10}", "validate", "specs")
    assert code == 1
    assert "error[DLT411]" in errors
    assert "`policy.budget` in " in errors
    assert "deltac.toml allows 10" in errors
    assert call('[policy]\nbudget = {trainable = "50%"}', "validate", "specs")[0] == 0


def test_require_model(call):
    Path("specs/a.delta.yaml").write_text(
        SPEC.replace(SPEC[SPEC.index("model:") : SPEC.index("deltas:")], "")
    )
    assert call("", "validate", "specs")[0] == 0
    assert call("require-model = true", "validate", "specs")[0] == 2


@pytest.mark.parametrize("setting", ['ignore = ["DLT101"]', 'select = ["DLT999"]'])
def test_bad_codes(call, setting):
    assert call(setting, "validate", "specs")[0] == 2


def test_plan_and_lock_take_the_specs_of_the_settings(call):
    for verb in ("plan", "lock"):
        code, _, errors = call("", verb)
        assert code == 2
        assert "name specs, or set `specs`" in errors
    code, out, _ = call('specs = ["specs"]', "plan")
    assert code == 0
    assert out.startswith("a: BertModel\n")
    assert call('specs = ["specs"]', "lock")[1] == "specs/a.delta.lock: written\n"
    code, out, _ = call('specs = ["specs"]', "lock", "--check")
    assert (code, out) == (0, "specs/a.delta.yaml: the lock is fresh\n")


def test_compile_ignores_what_the_settings_ignore(call):
    call("", "lock", "specs")
    Path("specs/a.delta.yaml").write_text(SPEC.replace("rank: 4", "rank: 2"))
    assert "warning[DLT605]" in call("", "compile", "specs/a.delta.yaml")[2]
    assert call('ignore = ["DLT605"]', "compile", "specs/a.delta.yaml")[::2] == (0, "")
    assert call('select = ["DLT206"]', "compile", "specs/a.delta.yaml")[::2] == (0, "")
