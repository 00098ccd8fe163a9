"""Plain scalars are those of YAML 1.2's core schema."""

import math

import pytest

from deltac.spec.scalars import resolve


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("1.", 1.0),
        ("-0.5", -0.5),
        ("+7", 7),
        ("010", 10),
        ("0o17", 15),
        ("0x1F", 31),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("Null", None),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("no", "no"),
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("2026-01-31", "2026-01-31"),
        ("1_000", "1_000"),
        ("0b1", "0b1"),
        ("nan", "nan"),
        ("-", "-"),
        (".", "."),
        ("٣", "٣"),
        ("first 4", "first 4"),
    ],
)
def test_value_and_type(text, value):
    assert resolve(text) == value
    assert type(resolve(text)) is type(value)


def test_not_a_number():
    assert math.isnan(resolve(".nan"))


def test_a_number_past_all_ranges_is_infinite():
    assert resolve("9" * 5000) == math.inf
    assert resolve("1e999") == math.inf
    assert resolve("-" + "9" * 5000) == -math.inf
