"""Diagnostics as JUnit XML, which CI servers show as test results: one test case per file."""

from __future__ import annotations

from collections.abc import Iterable
from xml.etree import ElementTree

from deltac.diagnostics import full
from deltac.diagnostics.diagnostic import Diagnostic

#: The test case of problems that lie in no file, such as a path of the call that is not there.
CALL = "the call"


def render(diagnostics: Iterable[Diagnostic], files: Iterable[str] = ()) -> str:
    """The XML text, without a final line break.

    Args:
        diagnostics: what was found; errors fail the test case of their file, warnings are its output.
        files: every file that was checked: one without problems is a test case that passes.
    """
    cases: dict[str, list[Diagnostic]] = {name: [] for name in files}
    for each in diagnostics:
        cases.setdefault(each.span.source.name if each.span else CALL, []).append(each)
    failed = sum(any(map(_is_error, found)) for found in cases.values())
    totals = {"tests": str(len(cases)), "failures": str(failed), "errors": "0"}
    root = ElementTree.Element("testsuites", totals)
    suite = ElementTree.SubElement(root, "testsuite", {"name": "deltac", **totals, "skipped": "0"})
    for name, found in cases.items():
        _case(suite, name, found)
    ElementTree.indent(root)
    head = '<?xml version="1.0" encoding="utf-8"?>\n'
    return head + ElementTree.tostring(root, encoding="unicode")


def _case(suite: ElementTree.Element, name: str, found: list[Diagnostic]) -> None:
    case = ElementTree.SubElement(
        suite, "testcase", {"classname": "deltac", "name": _xml(full.printable(name))}
    )
    errors = [each for each in found if _is_error(each)]
    if errors:
        codes = ", ".join(dict.fromkeys(f"{each.code} {each.name}" for each in errors))
        failure = ElementTree.SubElement(case, "failure", {"message": codes, "type": "error"})
        failure.text = _xml("\n" + full.render(errors) + "\n")
    warnings = [each for each in found if not _is_error(each)]
    if warnings:
        output = ElementTree.SubElement(case, "system-out")
        output.text = _xml("\n" + full.render(warnings) + "\n")


def _xml(text: str) -> str:
    # Control characters are escaped already; these two are all else that XML forbids.
    return text.replace("\ufffe", "\\ufffe").replace("\uffff", "\\uffff")


def _is_error(diagnostic: Diagnostic) -> bool:
    return diagnostic.severity == "error"
