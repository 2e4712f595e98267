"""Times of day as cron writes them: minute, hour, day of the month, month, day of the week, in local time.

A field is `*`, numbers, ranges (`1-5`), steps (`*/15`, `8-18/2`) and lists of these; Sunday is 0 or 7.  Where
both days are restricted, either is enough, as in every cron.

Where the clock jumps, each time that is written down comes once:

- a time that the clock skips comes as much later as the clock jumped: 2:30 becomes 3:30 of the same day;
- a time that comes twice is taken the first time; only with `*` for the hour does the hour that is repeated
  count again, since "every hour" means every hour that passes.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_FIELDS = (
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of the month", 1, 31),
    ("month", 1, 12),
    ("day of the week", 0, 7),
)
_NUMBER = "[0-9]{1,4}"
_PART = re.compile(rf"(?:(?P<any>\*)|(?P<first>{_NUMBER})(?:-(?P<last>{_NUMBER}))?)(?:/(?P<step>{_NUMBER}))?")
# A 29th of February on a given day of the week may be forty years away.
_LONGEST_SEARCH_DAYS = 366 * 40


@dataclass(frozen=True)
class Cron:
    """`expression` as it was written."""

    expression: str
    minutes: frozenset[int]
    hours: frozenset[int]
    month_days: frozenset[int]
    months: frozenset[int]
    week_days: frozenset[int]

    def next_after(self, moment: float) -> float:
        """The first time later than `moment`, both in Unix seconds."""
        # A time that the clock skipped at midnight belongs to the day before.
        day = dt.datetime.fromtimestamp(moment).astimezone().date() - dt.timedelta(days=1)
        for _ in range(_LONGEST_SEARCH_DAYS):
            later = [at for at in self._times_of(day) if at > moment]
            if later:
                return min(later)
            day += dt.timedelta(days=1)
        raise ValueError(f"{self.expression!r} never comes")

    def _times_of(self, day: dt.date) -> Iterator[float]:
        if not self._is_due_on(day):
            return
        for hour in self.hours:
            for minute in self.minutes:
                local = dt.datetime.combine(day, dt.time(hour, minute))
                yield local.timestamp()
                if self._is_every_hour:
                    yield local.replace(fold=1).timestamp()

    @property
    def _is_every_hour(self) -> bool:
        return self.expression.split()[1].startswith("*")

    def _is_due_on(self, day: dt.date) -> bool:
        if day.month not in self.months:
            return False
        _, _, of_month, _, of_week = self.expression.split()
        in_month, in_week = day.day in self.month_days, day.isoweekday() % 7 in self.week_days
        is_either_enough = not of_month.startswith("*") and not of_week.startswith("*")
        return in_month or in_week if is_either_enough else in_month and in_week


def parse_cron(expression: str) -> Cron:
    """Raises ValueError, in one sentence, for what is no such expression or names no day that there is."""
    fields = expression.split()
    if len(fields) != len(_FIELDS):
        raise ValueError(f'{expression!r} has {len(fields)} fields, not five; write it like "0 3 * * 1-5"')
    minutes, hours, month_days, months, week_days = (
        _values(text, name, first, last) for text, (name, first, last) in zip(fields, _FIELDS, strict=True)
    )
    cron = Cron(expression, minutes, hours, month_days, months, frozenset(day % 7 for day in week_days))
    cron.next_after(0.0)
    return cron


def _values(text: str, name: str, lowest: int, highest: int) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(
                f"the {name} {text!r} cannot be read; known are *, 5, 1-5, */15, 8-18/2 and lists"
            )
        first = lowest if match["any"] else int(match["first"])
        last = (
            highest if match["any"] or (match["step"] and not match["last"]) else int(match["last"] or first)
        )
        step = int(match["step"] or 1)
        if not (lowest <= first <= last <= highest and step):
            raise ValueError(f"the {name} {part!r} names nothing within {lowest} to {highest}")
        values.update(range(first, last + 1, step))
    return frozenset(values)
