"""The README's commands, outputs and code are those of the program."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deltac.cli.main import VERBS

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SPEC = "specs/quickstart.delta.yaml"
COMPILE = f"deltac compile {SPEC}"
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")),
]

#: What the Python block is given, as its text says: any data set that a Trainer takes.
DATASET = """
dataset = [
    {"input_ids": [101, 2000 + number, 102], "attention_mask": [1, 1, 1], "labels": number % 4}
    for number in range(16)
]
"""


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path):
    """A scratch folder with a copy of the specs."""
    shutil.copytree(ROOT / "specs", tmp_path / "specs")
    return tmp_path


def run(command, folder):
    # A width and a terminal of the caller's must not change what is printed.
    environment = {**os.environ, "COLUMNS": "200", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def deltac(line, folder):
    return run([sys.executable, "-m", *line.split()], folder)


@pytest.fixture
def shown(request):
    """Compares what a command prints with a console block; with --update-golden, writes the block."""

    def compare(number, line, printed):
        old, new = blocks("console")[number], f"$ {line}\n{printed.rstrip()}\n"
        if request.config.getoption("--update-golden"):
            page = ROOT / "README.md"
            page.write_text(page.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")
        else:
            assert old == new

    return compare


def test_compile_prints_what_the_readme_shows(folder, shown):
    code, output, error = deltac(COMPILE, folder)
    assert (code, error) == (0, "")
    shown(0, COMPILE, output)


def test_a_target_without_a_match_prints_what_the_readme_shows(folder, shown):
    spec = folder / SPEC
    spec.write_text(spec.read_text(encoding="utf-8").replace("attention.value", "mlp.gate"))
    code, output, error = deltac(COMPILE, folder)
    assert (code, output) == (1, "")
    shown(1, COMPILE, error)
    assert not (folder / "build").exists()


def test_the_python_block_runs(folder):
    (block,) = blocks("python")
    code, output, error = run([sys.executable, "-c", DATASET + block], folder)
    assert code == 0, error
    shown = re.search(r"It prints `(.*?)`", README, re.DOTALL)[1]
    assert output.splitlines()[0] == shown
    assert (folder / "trained" / "manifest.json").is_file()
    checkpoint = next((folder / "run").glob("checkpoint-*"))
    assert not [file for file in checkpoint.iterdir() if file.name.startswith("model")]


def test_ci_runs_the_two_commands():
    commands = [block.strip() for block in blocks("sh")]
    assert len(commands) == 2
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert [line for line in script.splitlines() if line in {f"({each})" for each in commands}]
    assert script.rstrip().endswith(f"({commands[0]})\n({commands[1]})")


def test_the_results_are_those_of_the_example():
    quoted = re.findall(
        r"^\| ([^|]+ \| \d\.\d+ \([^|]+ \| [^|]+ \| [^|]+) \|$", README, re.MULTILINE
    )
    whole = (ROOT / "examples" / "docstrings" / "README.md").read_text(encoding="utf-8")
    assert len(quoted) == 5
    assert [row for row in quoted if f"\n| {row} |" not in whole] == []


def test_every_verb_is_in_the_table():
    assert re.findall(r"^\| `deltac (\w+)", README, re.MULTILINE) == list(VERBS)


@pytest.mark.parametrize("page", sorted(PAGES))
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    # A URL or an anchor is not looked at: the tests use no network.
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    missing = [link for link in links if not (ROOT / page).parent.joinpath(link).exists()]
    assert not missing
