"""Lengths of time and moments as people write them: 30d, 12h, 2026-11-25, 2026-11-25T18:00Z."""

from __future__ import annotations

import datetime as dt
import re

UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# The first with Apple Silicon.
EARLIEST = dt.datetime(2020, 11, 1, tzinfo=dt.UTC)


def length(text: str) -> dt.timedelta:
    """Of "30d", "12h" or "2w"; ValueError for what is none."""
    parts = re.fullmatch(r"([1-9]\d{0,4})([smhdw])", text)
    if parts is None:
        raise ValueError(f"{text!r} is no length of time such as 30d, 12h or 2w.")
    return dt.timedelta(**{UNITS[parts[2]]: int(parts[1])})


def moment(text: str, *, now: dt.datetime) -> dt.datetime | None:
    """The end of a day, UTC, or a time; None for today, which has not ended. ValueError for what is none."""
    try:
        day = dt.date.fromisoformat(text)
    except ValueError:
        return _time(text, now=now)
    if day > now.date():
        raise ValueError(f"{text} is yet to come.")
    if day < EARLIEST.date():
        raise ValueError(f"{text} is before the first Mac that could have reported.")
    end = dt.datetime.combine(day, dt.time.min, dt.UTC) + dt.timedelta(days=1)
    return end if end <= now else None


def _time(text: str, *, now: dt.datetime) -> dt.datetime:
    try:
        time = dt.datetime.fromisoformat(text)
    except ValueError:
        message = f"{text!r} is no date such as 2026-11-25 and no time such as 2026-11-25T18:00Z."
        raise ValueError(message) from None
    try:
        time = time.astimezone(dt.UTC) if time.tzinfo is not None else time.replace(tzinfo=dt.UTC)
    except OverflowError:
        raise ValueError(f"{text} is out of range.") from None
    if time > now:
        raise ValueError(f"{text} is yet to come.")
    if time < EARLIEST:
        raise ValueError(f"{text} is before the first Mac that could have reported.")
    return time
