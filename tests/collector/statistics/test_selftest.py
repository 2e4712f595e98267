"""What the statistics say of halves that cannot differ, and of shifts that were planted."""

from __future__ import annotations

import numpy as np
import pytest
from llmenv_collector.statistics.selftest import false_positives, power_curve


def series(rng: np.random.Generator, count: int = 10) -> list[np.ndarray]:
    """Sixty runs each, with a CV of 2 %."""
    return [rng.lognormal(3, 0.02, 60) for _ in range(count)]


def test_halves_of_a_series_seldom_differ() -> None:
    """At most in 5 % of 200 splits, in neither direction alone."""
    rng = np.random.default_rng(31)
    told = false_positives(series(rng), rng=rng, splits=20)
    assert told.comparisons == 200
    assert told.better + told.worse == pytest.approx(told.rate.value * 200)
    assert told.rate.value <= 0.05
    assert told.rate.low <= told.rate.value <= told.rate.high


def test_five_percent_are_found_in_twenty_runs_a_side() -> None:
    """In at least 95 % at a CV of 2 %; about half of those of the least effect that matters."""
    rng = np.random.default_rng(32)
    curve = power_curve(series(rng), rng=rng, per_side=20, shifts=(0.01, 0.03, 0.05, 0.1), splits=10)
    found = [power.found.value for power in curve]
    assert found == sorted(found)
    assert found[0] <= 0.05
    assert 0.3 <= found[1] <= 0.7
    assert found[2] >= 0.95


def test_series_too_short_are_left_out() -> None:
    """And none left is refused."""
    rng = np.random.default_rng(33)
    told = false_positives([[1.0, 2.0], rng.lognormal(0, 0.1, 8)], rng=rng, splits=3)
    assert told.comparisons == 3
    with pytest.raises(ValueError, match="two values a side"):
        false_positives([[1.0, 2.0, 3.0]], rng=rng)
