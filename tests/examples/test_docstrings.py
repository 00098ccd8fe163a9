"""examples/docstrings, in its small form."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples" / "docstrings"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """What `train.py --small` printed, and what it wrote."""
    output = tmp_path_factory.mktemp("docstrings")
    command = [sys.executable, "-W", "error", FOLDER / "train.py", "--small", "--output", output]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done, output


def test_lora_beats_the_frozen_base(run):
    results = json.loads((run[1] / "results.json").read_text(encoding="utf-8"))
    accuracy = {row["method"]: row["accuracy"] for row in results["methods"]}
    assert accuracy["lora"] > accuracy["frozen"] + 0.02
    assert accuracy["frozen"] > 2 / 12


def test_a_fresh_process_finds_the_same_logits(run):
    assert "logits equal, bit for bit" in run[0].stdout
    assert (run[1] / "lora" / "delta.safetensors").is_file()


def test_it_is_quiet_without_a_terminal(run):
    assert run[0].stderr == ""


def test_it_draws_the_results(run):
    assert (run[1] / "results.png").read_bytes().startswith(b"\x89PNG")
    assert "| LoRA |" in (run[1] / "results.md").read_text(encoding="utf-8")


def test_no_module_and_no_text_is_on_two_sides():
    data = _module("data")
    rows = data.read(lambda texts: [len(text.split()) for text in texts])
    assert len(rows) > 2000
    assert {row.label for row in rows if row.part == "train"} == set(range(len(data.CLASSES)))
    assert len(data.CLASSES) >= 8
    modules = [{row.module for row in rows if row.part == part} for part in data.PARTS]
    texts = [{row.text.lower() for row in rows if row.part == part} for part in data.PARTS]
    for sides in (modules, texts):
        assert all(sides)
        assert len(set.union(*sides)) == sum(map(len, sides))


def _module(name):
    spec = importlib.util.spec_from_file_location(f"docstrings_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
