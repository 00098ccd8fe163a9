"""`deltac validate` from the outside: lines, streams, exit codes, and what it does not import."""

import json
import os
import subprocess
import sys

import jsonschema
import pytest

from deltac.diagnostics import json as diagnostics_json

GOOD = "version: 1\ndeltas:\n  - {operator: lora, target: {module: q_proj}}\n"
BAD = GOOD.replace("lora", "lroa")
NO_MODEL = "(checked: schema; the spec has no 'model' section)"


def deltac(*arguments, text="", cwd=None, **environment):
    return subprocess.run(
        [sys.executable, "-m", "deltac", *map(str, arguments)],
        input=text if isinstance(text, bytes) else text.encode(),
        capture_output=True,
        cwd=cwd,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )


@pytest.fixture
def specs(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "b.delta.yaml").write_text(GOOD)
    (tmp_path / "deep" / "er" / "a.delta.yaml").write_text(GOOD)
    (tmp_path / "other.yaml").write_text("no spec")
    return tmp_path


def test_a_good_file(specs):
    result = deltac("validate", "b.delta.yaml", cwd=specs)
    assert result.stdout.decode() == f"b.delta.yaml: ok {NO_MODEL}\n"
    assert (result.stderr, result.returncode) == (b"", 0)


def test_a_folder_is_searched_in_order(specs):
    result = deltac("validate", ".", cwd=specs)
    lines = result.stdout.decode().splitlines()
    assert [line.split(":")[0] for line in lines] == ["b.delta.yaml", "deep/er/a.delta.yaml"]


def test_a_bad_file_does_not_stop_the_others(specs):
    (specs / "a.delta.yaml").write_text(BAD)
    result = deltac("validate", "a.delta.yaml", "b.delta.yaml", cwd=specs)
    assert result.returncode == 1
    assert result.stdout.decode().splitlines() == [
        "a.delta.yaml: 1 error (checked: schema; the schema comes first)",
        f"b.delta.yaml: ok {NO_MODEL}",
    ]
    assert result.stderr.startswith(b"error[DLT107] unknown-operator: ")


def test_standard_input():
    assert deltac("validate", "-", text=GOOD).stdout.decode() == f"<stdin>: ok {NO_MODEL}\n"
    result = deltac("validate", "-", text=BAD)
    assert b"--> <stdin>:3:16" in result.stderr
    assert deltac("validate", "-", text=b"\xff").returncode == 1


def test_json_is_data(specs):
    result = deltac("validate", "--output-format", "json", "-", text=BAD)
    data = json.loads(result.stdout)
    jsonschema.validate(data, diagnostics_json.schema())
    assert [each["code"] for each in data["diagnostics"]] == ["DLT107"]
    assert (result.stderr, result.returncode) == (b"", 1)
    empty = deltac("validate", "--output-format", "json", ".", cwd=specs)
    reason = "the spec has no 'model' section"
    files = [
        {"file": name, "checked": "schema", "reason": reason}
        for name in ("b.delta.yaml", "deep/er/a.delta.yaml")
    ]
    assert json.loads(empty.stdout) == {"version": 1, "files": files, "diagnostics": []}


def test_a_path_that_is_not_there(specs):
    result = deltac("validate", "b.delta.yaml", "nowhere", cwd=specs)
    assert result.returncode == 2
    assert b"error[DLT831] file-not-found: can't read nowhere" in result.stderr
    assert result.stdout.decode() == f"b.delta.yaml: ok {NO_MODEL}\n"


def test_a_folder_without_specs(tmp_path):
    result = deltac("validate", tmp_path)
    assert result.returncode == 2
    assert b"error[DLT832] no-specs" in result.stderr


@pytest.mark.parametrize("arguments", [["validate"], ["no-such-verb"], ["validate", "--nope", "x"]])
def test_a_wrong_call(arguments):
    result = deltac(*arguments)
    assert (result.returncode, result.stdout) == (2, b"")
    assert b"Usage: deltac" in result.stderr


def test_no_colour_in_a_pipe():
    assert b"\033" not in deltac("validate", "-", text=BAD).stderr


def test_a_terminal_without_unicode(tmp_path):
    (tmp_path / "é.delta.yaml").write_text("version: 1\ndeltas: []\nñ: 1\n")
    result = deltac("validate", ".", cwd=tmp_path, PYTHONIOENCODING="ascii")
    assert result.returncode == 1
    assert b"DLT101" in result.stderr


def test_a_reader_that_leaves():
    command = [sys.executable, "-m", "deltac", "schema"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_a_fault_of_deltac_itself():
    code = (
        "import deltac.cli.validate as v, deltac.cli.main as m\n"
        "def broken(*a, **k): raise RuntimeError('boom')\n"
        "v.inspect = broken\n"
        "m.main(['validate', 'x'])\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert result.returncode == 3
    assert b"error[DLT901] internal-error" in result.stderr
    assert b"Traceback" not in result.stderr
    environment = {**os.environ, "DELTAC_DEBUG": "1"}
    result = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)
    assert b"Traceback" in result.stderr


@pytest.mark.parametrize(
    "arguments", [["validate", "-"], ["--help"], ["validate", "--help"], ["--version"], ["schema"]]
)
def test_torch_is_not_imported(arguments):
    code = (
        "import sys\n"
        "from deltac.cli.main import main\n"
        "try: main(sys.argv[1:])\n"
        "finally:\n"
        "    heavy = {'torch', 'transformers', 'numpy', 'safetensors'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    command = [sys.executable, "-c", code, *arguments]
    result = subprocess.run(command, input=GOOD.encode(), capture_output=True, check=False)
    assert (result.stderr, result.returncode) == (b"", 0)


def test_an_interrupt():
    code = (
        "import deltac.cli.validate as v, deltac.cli.main as m\n"
        "def interrupted(*a, **k): raise KeyboardInterrupt\n"
        "v.inspect = interrupted\n"
        "m.main(['validate', 'x'])\n"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (result.stderr, result.returncode) == (b"", 130)


def test_the_specs_that_artifacts_keep_are_not_those_of_a_folder(specs):
    for name, kept in (("one", "spec.delta.yaml"), ("two", "spec.resolved.delta.yaml")):
        artifact = specs / "build" / name
        (artifact / "spec").mkdir(parents=True)
        (artifact / "manifest.json").write_text("{}")
        (artifact / kept).write_text(GOOD)
        (artifact / "spec" / "base.delta.yaml").write_text(GOOD)
    (specs / "deep" / "manifest.json").write_text("{}")  # of something else
    result = deltac("validate", ".", cwd=specs)
    assert result.returncode == 0
    assert [line.split(b":")[0] for line in result.stdout.splitlines()] == [
        b"b.delta.yaml",
        b"deep/er/a.delta.yaml",
    ]
    assert b"spec.delta.yaml: ok" in deltac("validate", "build/one", cwd=specs).stdout
    refused = deltac("validate", "build", cwd=specs)
    assert refused.returncode == 2
    assert b"artifacts are left out" in refused.stderr
