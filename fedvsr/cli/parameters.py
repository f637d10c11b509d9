"""Types of options that several values can be written as."""

import re
from fractions import Fraction
from typing import Any

import click

_TIME = re.compile(r"(?:(?:(?P<hours>\d+):)?(?P<minutes>\d+):)?(?P<seconds>\d+(?:\.\d+)?)")
_MAX_SIXTIETHS = 60


class TimeParameter(click.ParamType):  # type: ignore[type-arg]
    """A time in seconds (90, 1.5), minutes and seconds (1:30) or hours, minutes and seconds (0:01:30.250)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        """Returns the time in seconds, exactly as it was written."""
        if isinstance(value, Fraction):
            return value
        match = _TIME.fullmatch(value)
        if match is None:
            self.fail(f"{value!r} is not a time; write seconds, MM:SS or HH:MM:SS.", param, ctx)
        hours, minutes, seconds = (Fraction(part or 0) for part in match.group("hours", "minutes", "seconds"))
        is_out_of_range = (match["hours"] and minutes >= _MAX_SIXTIETHS) or (
            match["minutes"] and seconds >= _MAX_SIXTIETHS
        )
        if is_out_of_range:
            self.fail(f"{value!r} is not a time; minutes and seconds end at 59.", param, ctx)
        return (60 * hours + minutes) * 60 + seconds


class AutoInteger(click.ParamType):  # type: ignore[type-arg]
    """An integer, or ``auto``, which becomes None."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Returns the integer, or None for ``auto``."""
        if value == "auto":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"{value!r} is neither an integer nor auto.", param, ctx)
