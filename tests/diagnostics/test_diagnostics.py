"""Diagnostics are sorted values that pickle, render and name their code."""

import copy
import pickle

import pytest

from deltac.diagnostics import (
    CODES,
    DeltacError,
    Diagnostic,
    Problems,
    Source,
    did_you_mean,
    full,
    nearest,
)

SOURCE = Source("a.yaml", "first: 1\r\nsecond: zwei\nthird: 3")


def error():
    return DeltacError(
        [
            Diagnostic("DLT101", "late", SOURCE.span(10, 16), ("a note",), "a fix"),
            Diagnostic("DLT009", "early", SOURCE.span(0, 5)),
            Diagnostic("DLT101", "late", SOURCE.span(10, 16), ("a note",), "a fix"),
        ]
    )


def test_positions():
    span = SOURCE.span(18, 22)
    assert (span.start.line, span.start.column, span.end.column) == (2, 9, 13)
    assert (span.text, span.line_text, str(span)) == ("zwei", "second: zwei", "a.yaml:2:9")
    assert SOURCE.position(10**9) == SOURCE.position(len(SOURCE.text))


def test_an_error_is_sorted_and_holds_each_problem_once():
    assert [each.message for each in error().diagnostics] == ["early", "late"]


@pytest.mark.parametrize("change", [copy.copy, lambda each: pickle.loads(pickle.dumps(each))])
def test_an_error_pickles(change):
    again = change(error())
    assert again.diagnostics == error().diagnostics
    assert str(again) == str(error())


def test_the_text_of_an_error_is_its_full_rendering_without_colour():
    assert str(error()) == full.render(error().diagnostics)
    assert "\033" not in str(error())


def test_colour_changes_no_text():
    coloured = full.render(error().diagnostics, color=True)
    assert "\033[" in coloured
    import re

    assert re.sub(r"\033\[[0-9;]*m", "", coloured) == str(error())


@pytest.mark.parametrize(
    ("codes", "exit_code"),
    [(["DLT101"], 1), (["DLT101", "DLT831"], 2), (["DLT831", "DLT901"], 3)],
)
def test_exit_codes(codes, exit_code):
    assert DeltacError([Diagnostic(code, "x") for code in codes]).exit_code == exit_code


def test_an_unknown_code_is_a_fault_of_the_caller():
    with pytest.raises(KeyError):
        Diagnostic("DLT000", "x")


def test_problems_raise_all_at_once():
    problems = Problems()
    problems.raise_if_any()
    problems.add("DLT101", "b", SOURCE.span(10, 16))
    problems.add("DLT101", "a", SOURCE.span(0, 5))
    with pytest.raises(DeltacError) as caught:
        problems.raise_if_any()
    assert [each.message for each in caught.value.diagnostics] == ["a", "b"]
    assert len(problems) == 2


def test_warnings_alone_do_not_raise():
    warning = next(code for code, entry in CODES.items() if entry.severity == "warning")
    problems = Problems()
    problems.add(warning, "x")
    problems.raise_if_any()
    assert [each.severity for each in problems] == ["warning"]


def test_a_tab_moves_the_caret():
    source = Source("a.yaml", "\tname: x")
    lines = full.render([Diagnostic("DLT101", "m", source.span(1, 5))]).splitlines()
    assert lines[3] == "1 |     name: x"
    assert lines[4] == "  |     ^^^^"


def test_a_span_over_lines_is_underlined_on_its_first():
    lines = full.render([Diagnostic("DLT101", "m", SOURCE.span(10, 30))]).splitlines()
    assert lines[3:5] == ["2 | second: zwei", "  | ^^^^^^^^^^^^"]


def test_control_characters_never_reach_the_terminal():
    source = Source("\x1b]0;a", "x: \x1b[2J\u202e")
    text = full.render([Diagnostic("DLT101", "\x9b1m", source.span(0, 9), ("\x07",), "\r")])
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize(
    ("word", "candidate"),
    [
        ("rnak", "rank"),
        ("Rank", "rank"),
        ("dropuot", "dropout"),
        ("xyz", None),
        ("bf16", "bfloat16"),
        ("bfloat32", None),
        ("", None),
    ],
)
def test_nearest(word, candidate):
    assert nearest(word, ["rank", "alpha", "dropout", "bfloat16"]) == candidate


def test_did_you_mean():
    assert did_you_mean("rnak", ["rank"]) == "did you mean `rank`?"
    assert did_you_mean("rnak", []) is None
