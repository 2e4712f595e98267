"""How fast a history is played, and what its delivery is said to have been."""

from __future__ import annotations

import datetime as dt
import time

import pytest
from llmenv_agent.simulation.histogram import Histogram
from llmenv_agent.simulation.outages import Outage, parse_outage
from llmenv_agent.simulation.pace import Pace, beginning, days_of, parse_rate

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_a_rate_is_fast_or_a_factor() -> None:
    """Or runs a second, which a fleet has to hurry for. Anything else is refused in words."""
    rates = [parse_rate(text, runs_per_day=1) for text in ("fast", "1x", "3600x", "0.5x")]
    assert rates == [None, 1.0, 3600.0, 0.5]
    assert parse_rate("2/s", runs_per_day=86_400) == 2.0
    for text in ("", "0x", "0/s", "-1x", "10", "slow"):
        with pytest.raises(ValueError, match="is no rate"):
            parse_rate(text, runs_per_day=1)


def test_a_pace_waits_for_the_history_clock() -> None:
    """An hour of history is a second at 3600x, and nothing when it is fast."""
    moment = NOW + dt.timedelta(hours=1)
    before = time.monotonic()
    waits = Pace(3600.0, NOW).seconds_until(moment)
    assert 1.0 - (time.monotonic() - before) <= waits <= 1.0
    assert Pace(None, NOW).seconds_until(moment) == 0.0


def test_a_history_ends_now_or_begins_now() -> None:
    """At a pace there is no past."""
    before = this_second()
    begins, fast = beginning(1.0, days=30), beginning(None, days=30)
    assert before <= begins <= this_second()
    assert before <= fast + dt.timedelta(days=30) <= this_second()


def test_a_history_that_is_hurried_ends_with_its_play() -> None:
    """A minute at 3600x is sixty hours, which end in a minute."""
    before = this_second()
    assert days_of(3600.0, 60.0) == 3
    begins = beginning(3600.0, days=3, duration=60.0)
    assert before <= begins + dt.timedelta(hours=60) - dt.timedelta(minutes=1) <= this_second()
    began = time.monotonic()
    left = Pace(3600.0, begins, duration=60.0).seconds_left()
    assert 60.0 - (time.monotonic() - began) <= left <= 60.0
    assert Pace(None, NOW).seconds_left() == float("inf")


def this_second() -> dt.datetime:
    return dt.datetime.now(dt.UTC).replace(microsecond=0)


def test_quantiles_are_within_a_hundredth_of_what_was_measured() -> None:
    """Also of several histograms together; the longest is exact, and of none there is nothing."""
    low, high = Histogram(), Histogram()
    for value in range(1, 51):
        low.add(float(value))
    for value in range(51, 101):
        high.add(float(value))
    both = low + high
    assert [both.quantile(share) for share in (0.5, 0.99)] == pytest.approx([50.0, 99.0], rel=0.01)
    assert (both.quantile(1.0), both.longest, both.count) == (100.0, 100.0, 100)
    assert (Histogram().quantile(0.5), Histogram().count) == (0.0, 0)


def test_many_of_one_duration_are_counted_as_many() -> None:
    """None is below the shortest that is told apart."""
    histogram = Histogram()
    histogram.add(0.0, times=98)
    histogram.add(2.0, times=2)
    assert histogram.quantile(0.98) == pytest.approx(1e-6, rel=0.02)
    assert histogram.quantile(0.99) == 2.0


def test_an_outage_is_after_which_time_how_long_and_for_whom() -> None:
    """Anything else is refused with the form that it should have."""
    assert parse_outage("10m:30s") == Outage(begins_after=600, lasts=30, share=1.0)
    assert parse_outage("0s:30s:25%") == Outage(begins_after=0, lasts=30, share=0.25)
    for text in ("", "10m", "10m:30s:0.5", "10m:0s", "1m:1s:0%", "1m:1s:200%", "1m:1s:x%"):
        with pytest.raises(ValueError, match="write it like 10m:30s"):
            parse_outage(text)


def test_an_outage_is_for_its_share_of_the_machines_and_the_same_for_all_processes() -> None:
    """One at least; another outage is for others."""
    half = Outage(begins_after=1, lasts=1, share=0.5)
    assert len(half.cut_off(40, seed=1)) == 20
    assert half.cut_off(40, seed=1) == half.cut_off(40, seed=1)
    assert half.cut_off(40, seed=1) != Outage(begins_after=2, lasts=1, share=0.5).cut_off(40, seed=1)
    assert len(Outage(begins_after=1, lasts=1, share=0.001).cut_off(40, seed=1)) == 1
