"""Times of day as cron writes them, also where the clock jumps."""

from __future__ import annotations

import datetime as dt
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv.cron import parse_cron

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Summer time began there on 2026-03-29 at 2:00 and ended on 2026-10-25 at 3:00."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def times(expression: str, after: str, count: int) -> list[str]:
    """The next times, with their distance from UTC."""
    moment = dt.datetime.fromisoformat(after).timestamp()
    found = []
    for _ in range(count):
        moment = parse_cron(expression).next_after(moment)
        found.append(f"{dt.datetime.fromtimestamp(moment).astimezone():%a %m-%d %H:%M %z}")
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 3 * * 1-5", ["Thu 01-01 03:00", "Fri 01-02 03:00", "Mon 01-05 03:00"]),
        ("*/20 * * * *", ["Thu 01-01 00:20", "Thu 01-01 00:40", "Thu 01-01 01:00"]),
        ("30 8-18/5 * * *", ["Thu 01-01 08:30", "Thu 01-01 13:30", "Thu 01-01 18:30"]),
        ("0 0 1,15 * *", ["Thu 01-15 00:00", "Sun 02-01 00:00", "Sun 02-15 00:00"]),
        ("0 0 13 * 5", ["Fri 01-02 00:00", "Fri 01-09 00:00", "Tue 01-13 00:00"]),
        ("0 0 * * 7", ["Sun 01-04 00:00", "Sun 01-11 00:00", "Sun 01-18 00:00"]),
        ("0 0 29 2 *", ["Tue 02-29 00:00", "Sun 02-29 00:00", "Fri 02-29 00:00"]),
    ],
)
def test_the_next_times(expression: str, expected: list[str]) -> None:
    """Every kind of field, from the first moment of 2026 on; either of two restricted days is enough."""
    assert [f"{each} +0100" for each in expected] == times(expression, "2026-01-01T00:00", 3)


def test_a_time_that_the_clock_skips_comes_an_hour_later() -> None:
    """On 2026-03-29 there is no 2:30 in Berlin; nothing is lost and nothing runs twice."""
    assert times("30 2 * * *", "2026-03-28T12:00", 2) == ["Sun 03-29 03:30 +0200", "Mon 03-30 02:30 +0200"]


def test_a_time_that_comes_twice_is_taken_once() -> None:
    """On 2026-10-25 there are two 2:30 in Berlin; the first one counts."""
    assert times("30 2 * * *", "2026-10-24T12:00", 2) == ["Sun 10-25 02:30 +0200", "Mon 10-26 02:30 +0100"]


def test_every_hour_means_every_hour_that_passes() -> None:
    """The hour that is repeated counts again, and the one that is skipped leaves no hole."""
    assert times("30 * * * *", "2026-10-25T01:00", 4) == [
        "Sun 10-25 01:30 +0200",
        "Sun 10-25 02:30 +0200",
        "Sun 10-25 02:30 +0100",
        "Sun 10-25 03:30 +0100",
    ]
    assert times("30 * * * *", "2026-03-29T01:00", 3) == [
        "Sun 03-29 01:30 +0100",
        "Sun 03-29 03:30 +0200",
        "Sun 03-29 04:30 +0200",
    ]


@given(
    moment=st.floats(min_value=1e9, max_value=4e9),
    expression=st.sampled_from(["*/7 * * * *", "30 2 * * *", "15 1-4 * * *", "0 0 * * 0", "59 23 31 * *"]),
)
def test_the_next_time_is_always_later(moment: float, expression: str) -> None:
    """Whatever the clock does at that moment; so nothing can wait a negative time or run in a circle."""
    following = parse_cron(expression).next_after(moment)
    assert moment < following <= moment + 63 * 86_400


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("0 3 * *", "has 4 fields, not five"),
        ("60 3 * * *", "the minute '60' names nothing within 0 to 59"),
        ("0 24 * * *", "the hour '24' names nothing within 0 to 23"),
        ("0 5-1 * * *", "the hour '5-1' names nothing within 0 to 23"),
        ("*/0 3 * * *", "the minute '*/0' names nothing within 0 to 59"),
        ("0 3 * * mon", "the day of the week 'mon' cannot be read"),
        ("0 3 , * *", "the day of the month ',' cannot be read"),
        ("0 3 30 2 *", "never comes"),
    ],
)
def test_what_is_no_such_expression_is_said(expression: str, problem: str) -> None:
    """With the field that is wrong."""
    with pytest.raises(ValueError, match=problem.replace("*", r"\*")):
        parse_cron(expression)
