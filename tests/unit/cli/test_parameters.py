"""Times and sizes as users write them."""

from fractions import Fraction

import click
import pytest

from fedvsr.cli.parameters import AutoInteger, TimeParameter


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("90", 90),
        ("1.5", Fraction(3, 2)),
        ("0.1", Fraction(1, 10)),
        ("1:30", 90),
        ("01:30.250", Fraction(361, 4)),
        ("75:00", 4500),
        ("1:02:03.4", Fraction(18617, 5)),
        ("00:00:00.001", Fraction(1, 1000)),
    ],
)
def test_a_time_is_exact(text, seconds):
    assert TimeParameter().convert(text, None, None) == seconds


@pytest.mark.parametrize(
    "text", ["", "-1", "1:60", "1:75:00", "1:2:3:4", "half", "1e3", "1:", ":30", "nan", "5s"]
)
def test_what_is_not_a_time_is_refused(text):
    with pytest.raises(click.BadParameter, match="is not a time; "):
        TimeParameter().convert(text, None, None)


def test_auto_is_no_number():
    assert AutoInteger().convert("auto", None, None) is None
    assert AutoInteger().convert("12", None, None) == 12
    assert AutoInteger().convert(12, None, None) == 12
    with pytest.raises(click.BadParameter, match="'many' is neither an integer nor auto"):
        AutoInteger().convert("many", None, None)
