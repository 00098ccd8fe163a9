"""A golden spec gives exactly the diagnostics that its comments announce, in exactly its text."""

import pytest
from golden_support import diagnose, expected, found, golden_files

from deltac.diagnostics import CODES, full

FILES = golden_files()

#: Codes that no file can show: some need a megabyte or many files, some a spec that is no file.
ELSEWHERE = {"DLT004", "DLT018", "DLT127", "DLT135", "DLT137"}
#: These speak of the settings of a project.
ELSEWHERE |= {"DLT141", "DLT142", "DLT143", "DLT144"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.split(".")[0])
def test_the_announced_diagnostics_and_no_others(path):
    assert expected(path), "announce the diagnostics in comments: # error: DLT101 6:16"
    assert found(diagnose(path)) == expected(path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name.split(".")[0])
def test_the_whole_text(path, golden):
    text = full.render(diagnose(path)) + "\n"
    golden(path.with_name(path.name.removesuffix(".delta.yaml") + ".full.txt"), text)


def test_every_code_of_the_source_and_the_schema_has_a_golden_file():
    announced = {code for path in FILES for _, code, _, _ in expected(path)}
    families = {code for code in CODES if code[:4] in ("DLT0", "DLT1")}
    assert families - announced == ELSEWHERE


def test_every_text_belongs_to_a_spec():
    stems = {path.name.removesuffix(".delta.yaml") for path in FILES}
    texts = {path.name.removesuffix(".full.txt") for path in FILES[0].parent.glob("*.full.txt")}
    assert texts == stems
