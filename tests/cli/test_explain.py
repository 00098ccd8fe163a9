"""`deltac explain`: one catalogue, by code and by name."""

import pytest
from click.testing import CliRunner

from deltac.cli import explain
from deltac.cli._output import Output
from deltac.diagnostics import CODES, DeltacError


def run(*arguments):
    return CliRunner().invoke(explain.command, arguments, obj=Output(), catch_exceptions=False)


@pytest.mark.parametrize("word", ["DLT201", "dlt201", "no-match"])
def test_a_code_or_its_name(word):
    entry = CODES["DLT201"]
    assert run(word).stdout == (
        "DLT201 no-match: error, exit 1 (the spec is at fault)\n\n"
        f"{entry.meaning}\n\nwrong:\n    {entry.wrong}\n\nright:\n    {entry.right}\n"
    )


def test_a_warning_and_a_code_without_examples():
    assert run("runs-several-times").stdout.startswith("DLT206 runs-several-times: warning\n")
    assert "wrong:" not in run("DLT802").stdout


def test_several_codes():
    heads = [line for line in run("DLT001", "DLT002").stdout.splitlines() if "DLT" in line[:3]]
    assert [line.split()[0] for line in heads] == ["DLT001", "DLT002"]


def test_all_lists_every_code_once():
    assert [line.split()[0] for line in run("--all").stdout.splitlines()] == list(CODES)


def test_an_example_never_writes_to_the_terminal():
    assert all(char.isprintable() or char == "\n" for char in run(*CODES).stdout)


@pytest.mark.parametrize(
    ("word", "fix"),
    [
        ("no-mach", "did you mean `no-match`?"),
        ("DLT999", f"codes go from DLT001 to {max(CODES)}: `deltac explain --all` lists them"),
    ],
)
def test_an_unknown_code(word, fix):
    with pytest.raises(DeltacError) as caught:
        run("DLT201", word)
    (found,) = caught.value.diagnostics
    assert (found.code, found.fix, caught.value.exit_code) == ("DLT835", fix, 2)


@pytest.mark.parametrize("arguments", [[], ["--all", "DLT201"]])
def test_a_wrong_call(arguments):
    assert run(*arguments).exit_code == 2
