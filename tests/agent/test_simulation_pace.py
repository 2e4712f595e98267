"""How fast a history is played, and what its delivery is said to have been."""

from __future__ import annotations

import datetime as dt

import pytest
from llmenv_agent.simulation.measured_delivery import quantile
from llmenv_agent.simulation.pace import Pace, beginning, parse_rate

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def test_a_rate_is_fast_or_a_factor() -> None:
    """Anything else is refused in words."""
    assert [parse_rate(text) for text in ("fast", "1x", "3600x", "0.5x")] == [None, 1.0, 3600.0, 0.5]
    for text in ("", "0x", "-1x", "10", "slow"):
        with pytest.raises(ValueError, match="is no rate"):
            parse_rate(text)


def test_a_pace_waits_for_the_history_clock() -> None:
    """An hour of history is a second at 3600x, and nothing when it is fast."""
    moment = NOW + dt.timedelta(hours=1)
    assert Pace(3600.0, NOW).seconds_until(moment) == pytest.approx(1.0, abs=0.1)
    assert Pace(None, NOW).seconds_until(moment) == 0.0


def test_a_history_ends_now_or_begins_now() -> None:
    """At a pace there is no past."""
    now = dt.datetime.now(dt.UTC)
    assert abs(beginning(1.0, days=30) - now) < dt.timedelta(seconds=5)
    assert abs(beginning(None, days=30) - now + dt.timedelta(days=30)) < dt.timedelta(seconds=5)


def test_quantiles_are_values_that_were_measured() -> None:
    """Nearest rank; 0 where nothing was."""
    values = [float(each) for each in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert (quantile([], 0.5), quantile([7.0], 0.5)) == (0.0, 7.0)
