"""When a site works: hours of the day and days of the week, in a time zone."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_FORM = re.compile(r"(\d{2}:\d{2})-(\d{2}:\d{2})(?: +(\S+))?")
_STEP = timedelta(minutes=1)


@dataclass(frozen=True)
class Hours:
    """A span of each day, such as ``22:00-06:00 Europe/Berlin``; one that ends earlier ends the next day.

    Attributes:
        begin: When it begins, included.
        end: When it ends, excluded. If it equals the begin, the span is the whole day.
        zone: The time zone; None for the machine's own.
        days: The days of the week on which the span may begin.
    """

    begin: time
    end: time
    zone: ZoneInfo | None
    days: tuple[str, ...] = DAYS

    @classmethod
    def parse(cls, text: str, days: tuple[str, ...] = DAYS) -> "Hours":
        """Reads ``HH:MM-HH:MM`` or ``HH:MM-HH:MM ZONE``.

        Raises:
            ValueError: The text has another form, or the time zone is unknown.
        """
        match = _FORM.fullmatch(text.strip())
        if not match:
            raise ValueError("it must be HH:MM-HH:MM or HH:MM-HH:MM ZONE, like 22:00-06:00 Europe/Berlin")
        begin, end, zone = match.groups()
        try:
            return cls(
                time.fromisoformat(begin), time.fromisoformat(end), ZoneInfo(zone) if zone else None, days
            )
        except ZoneInfoNotFoundError:
            raise ValueError(f"{zone} is no time zone; write it like Europe/Berlin") from None
        except ValueError:
            raise ValueError("its times must be from 00:00 to 23:59") from None

    def contains(self, moment: datetime) -> bool:
        """Returns whether a moment with a time zone is inside."""
        local = moment.astimezone(self.zone)
        now = local.time()
        today, yesterday = DAYS[local.weekday()], DAYS[local.weekday() - 1]
        if self.begin < self.end:
            return today in self.days and self.begin <= now < self.end
        return (today in self.days and now >= self.begin) or (yesterday in self.days and now < self.end)

    def next_begin(self, moment: datetime) -> datetime:
        """Returns the next moment, after the minute of ``moment``, at which a span begins.

        It is sought minute by minute, so that a clock that is set forward or back needs no rule of its own.
        """
        candidate = moment.replace(second=0, microsecond=0) + _STEP
        for _ in range(8 * 24 * 60):
            if self.contains(candidate) and not self.contains(candidate - _STEP):
                return candidate
            candidate += _STEP
        return candidate
