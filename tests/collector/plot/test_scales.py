"""Scales rise, stay within their ends, and put their ticks at round values."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmenv_collector.plot.scales import Linear, Log, Scale, Time, round_step, spanning, spanning_ratios

STEADY = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
FINITE = st.floats(-1e9, 1e9)
POSITIVE = st.floats(1e-6, 1e9)
SECONDS = st.floats(0, 4e9)


def scale_of(kind: str, low: float, high: float) -> Scale:
    return {"linear": Linear, "log": Log, "time": Time}[kind](low, high, 10.0, 350.0)


def ends(kind: str) -> st.SearchStrategy[tuple[float, float]]:
    values = {"linear": FINITE, "log": POSITIVE, "time": SECONDS}[kind]
    pairs = st.tuples(values, values).map(sorted)
    return pairs.filter(lambda pair: pair[1] - pair[0] > 1e-6 * max(1.0, abs(pair[0]), abs(pair[1])))


@pytest.mark.parametrize("kind", ["linear", "log", "time"])
@STEADY
@given(data=st.data())
def test_a_scale_rises_and_stays_within_its_ends(kind: str, data: st.DataObject) -> None:
    """Of two values the larger is drawn no further left, and both between begin and end."""
    low, high = data.draw(ends(kind))
    scale = scale_of(kind, low, high)
    first, second = sorted(data.draw(st.tuples(st.floats(low, high), st.floats(low, high))))
    assert 10.0 <= scale(first) <= scale(second) <= 350.0
    assert math.isclose(scale(low), 10.0, abs_tol=1e-6)
    assert math.isclose(scale(high), 350.0, abs_tol=1e-6)


@pytest.mark.parametrize("kind", ["linear", "log", "time"])
@STEADY
@given(data=st.data(), count=st.integers(2, 8))
def test_ticks_are_few_rising_and_within_the_ends(kind: str, data: st.DataObject, count: int) -> None:
    """Each has words of its own; there are never many more than asked for."""
    low, high = data.draw(ends(kind))
    ticks = scale_of(kind, low, high).ticks(count)
    values = [tick.value for tick in ticks]
    assert values == sorted(set(values))
    assert all(low <= value <= high for value in values)
    assert len(ticks) <= 2 * count + 1
    assert all(tick.label for tick in ticks)


@STEADY
@given(low=st.floats(-1e3, 1e3), width=st.floats(1e-2, 1e3))
def test_neighbouring_ticks_are_told_apart(low: float, width: float) -> None:
    """As many decimals as the step needs."""
    labels = [tick.label for tick in Linear(low, low + width, 0.0, 1.0).ticks(4)]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.0, 215.0, ["0", "100", "200"]),
        (0.0, 8.0, ["0", "2", "4", "6", "8"]),
        (0.0, 1.0, ["0", "0.25", "0.50", "0.75", "1.00"]),
        (-1.0, 1.0, ["-1.0", "-0.5", "0", "0.5", "1.0"]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    """Steps of 1, 2, 2.5 or 5 times a power of ten."""
    assert [tick.label for tick in Linear(low, high, 0.0, 1.0).ticks(4)] == labels


def test_a_logarithmic_scale_over_decades_has_powers() -> None:
    """Over less than that its ticks are those of a linear one."""
    assert [tick.label for tick in Log(0.5, 2_000.0, 0.0, 1.0).ticks(4)] == ["1", "10", "100", "1,000"]
    assert [tick.label for tick in Log(0.85, 1.18, 0.0, 1.0).ticks(4)] == ["0.9", "1.0", "1.1"]


def test_ticks_of_time_stand_at_midnight() -> None:
    """Of UTC, written as days."""
    november = 1_793_491_200.0  # 2026-11-01
    ticks = Time(november + 3_600, november + 10 * 86_400, 0.0, 1.0).ticks(3)
    assert all(tick.value % 86_400 == 0 for tick in ticks)
    assert [tick.label for tick in ticks] == ["2026-11-05"]


@STEADY
@given(values=st.lists(FINITE, max_size=6))
def test_ends_hold_every_value_and_are_apart(values: list[float]) -> None:
    """Also for no value, and for equal ones."""
    low, high = spanning(values)
    assert low < high
    assert all(low <= value <= high for value in values)


@STEADY
@given(values=st.lists(st.floats(0.01, 100.0), max_size=6))
def test_ratios_have_one_in_the_middle(values: list[float]) -> None:
    """A ratio and its inverse are as far from it."""
    low, high = spanning_ratios(values)
    assert math.isclose(low * high, 1.0, rel_tol=1e-9)
    assert all(low <= value <= high for value in values)


@STEADY
@given(least=st.floats(1e-9, 1e12))
def test_a_round_step_is_not_below_and_not_far_above(least: float) -> None:
    """At most two and a half times."""
    assert least * (1 - 1e-6) <= round_step(least) <= 2.5 * least
