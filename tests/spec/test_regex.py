"""The bounded matcher says what `re` says, in a time that does not explode."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deltac.spec.regex import UnsupportedError, _AllWays, compile_bounded, parser

LEAVES = st.sampled_from(
    ["a", "b", ".", r"\.", "[ab]", "[^a]", r"\d", r"\w", r"\S", "[a-b1]", r"\b", "^", "$"]
)
EXPRESSIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map("".join),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "*?", "+?"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, st.text("ab.1", max_size=7))
@settings(max_examples=400, deadline=None)
def test_it_matches_what_re_matches(expression, text):
    found = _AllWays(parser.parse(expression)).fullmatch(text)
    assert found == (re.fullmatch(expression, text) is not None)


@pytest.mark.parametrize(
    "expression",
    [
        "(a+)+b",
        "(a|a)*b",
        "(a|b|ab)*c",
        ".*.*.*.*.*.*.*.*x",
        "((((a?)*)*)*)*b",
        "(a{1,1000}){1,1000}c",
        "(" * 60 + "a?" + ")*" * 60 + "b",
        "(.?){1000}x",
    ],
)
def test_nothing_explodes(expression):
    # By trying one way after the other, none of these would end in a lifetime.
    assert not compile_bounded(expression).fullmatch("a" * 200)


@pytest.mark.parametrize("expression", [r".*\.(q|v)_proj", r"model\.layers\.[0-5]\..*_proj"])
def test_usual_expressions_go_to_re(expression):
    assert isinstance(compile_bounded(expression), re.Pattern)


@pytest.mark.parametrize(
    "expression",
    [r"(a)\1", "(?=a)a", "(?<!a)b", "(?i:a)", "(?i)((a+)+)", "a++", "(?>a)", "(a)?(?(1)b|c)"],
)
def test_what_can_not_be_bounded_is_refused(expression):
    with pytest.raises(UnsupportedError):
        compile_bounded(expression)
