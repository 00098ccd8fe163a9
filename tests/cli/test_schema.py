"""`deltac schema`: the committed schemas are the generated ones."""

import json

import click
import pytest
from click.testing import CliRunner

from deltac.cli import schema as verb
from deltac.cli._output import Output
from deltac.diagnostics import DeltacError


def run(*arguments):
    return CliRunner().invoke(verb.command, arguments, obj=Output(), catch_exceptions=False)


@pytest.mark.parametrize(
    "name", ["spec", "resolved-spec", "diagnostics", "lock", "diff", "changes"]
)
def test_a_schema_is_printed_as_committed(name):
    assert json.loads(run(name).stdout)["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_the_committed_schemas_are_fresh():
    assert run("--check").exit_code == 0


def test_a_stale_schema_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(verb, "checkout_folder", lambda: tmp_path)
    with pytest.raises(DeltacError) as caught:
        run("--check")
    assert caught.value.diagnostics[0].code == "DLT833"
    assert caught.value.exit_code == 1
    assert run("--write").exit_code == 0
    assert run("--check").exit_code == 0


def test_writing_needs_a_checkout(monkeypatch):
    monkeypatch.setattr(verb, "checkout_folder", lambda: None)
    with pytest.raises(DeltacError) as caught:
        run("--write")
    assert caught.value.diagnostics[0].code == "DLT834"


def test_an_unknown_schema():
    with pytest.raises(click.UsageError):
        verb.command.main(["nonsense"], standalone_mode=False, obj=Output())
