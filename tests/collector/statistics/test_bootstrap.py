"""Intervals: what they cover, and what cannot change them."""

from __future__ import annotations

import math
import random
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.bootstrap import (
    median_interval,
    paired_ratio_interval,
    ratio_interval,
    stratified_ratio_interval,
)
from llmenv_collector.statistics.nested import Nested

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_collector.statistics.estimate import Estimate

VALUES = st.floats(0.1, 1e3)
MACHINES = st.lists(
    st.lists(st.lists(VALUES, min_size=1, max_size=3), min_size=1, max_size=3), min_size=1, max_size=4
)
RARELY = settings(derandomize=True, deadline=None, max_examples=30)
SEED = 7


def fleet(rng: np.random.Generator, machines: int, *, between: float, within: float, runs: int = 4) -> Nested:
    """Machines whose true median is 1: log-normal between machines, between runs and between trials."""
    levels = rng.normal(0, between, machines)
    return Nested.of(
        [
            [np.exp(level + rng.normal(0, within) + rng.normal(0, within, 3)) for _ in range(runs)]
            for level in levels
        ]
    )


def coverage(interval: Callable[[], Estimate], *, repetitions: int) -> float:
    estimates = [interval() for _ in range(repetitions)]
    return sum(estimate.low <= 1 <= estimate.high for estimate in estimates) / repetitions


def assert_inverse(one: Estimate, other: Estimate) -> None:
    assert other.value == pytest.approx(1 / one.value, rel=1e-9)
    assert other.low == pytest.approx(0 if math.isinf(one.high) else 1 / one.high, rel=1e-9)
    assert other.high == pytest.approx(math.inf if one.low == 0 else 1 / one.low, rel=1e-9)


@given(MACHINES, MACHINES)
@RARELY
def test_swapping_the_sides_inverts_the_ratio(
    one: list[list[list[float]]], other: list[list[list[float]]]
) -> None:
    """And its interval, exactly: what is drawn does not depend on which side is called candidate."""
    a, b = Nested.of(one), Nested.of(other)
    for about in ("fleet", "machines"):
        interval = partial(stratified_ratio_interval, resamples=50, about=about)
        assert_inverse(
            interval([(a, b)], rng=np.random.default_rng(SEED)),
            interval([(b, a)], rng=np.random.default_rng(SEED)),
        )


@given(MACHINES, st.floats(0.001, 1000), st.integers(0, 99))
@RARELY
def test_neither_unit_nor_order_matters(machines: list[list[list[float]]], unit: float, seed: int) -> None:
    """A ratio is blind to the unit, a median's interval carries it, and neither sees an order."""
    draw = random.Random(seed)
    scaled = [[[value * unit for value in draw.sample(run, len(run))] for run in runs] for runs in machines]
    side, same = Nested.of(machines), Nested.of(draw.sample(scaled, len(scaled)))
    baseline = Nested.of([[[3.0, 4.0]], [[5.0]]])
    scaled_baseline = Nested.of([[[5.0 * unit]], [[4.0 * unit, 3.0 * unit]]])
    one = ratio_interval(side, baseline=baseline, rng=np.random.default_rng(SEED), resamples=50)
    other = ratio_interval(same, baseline=scaled_baseline, rng=np.random.default_rng(SEED), resamples=50)
    assert (other.value, other.low, other.high) == pytest.approx((one.value, one.low, one.high), rel=1e-6)
    one = median_interval(side, rng=np.random.default_rng(SEED), resamples=50)
    other = median_interval(same, rng=np.random.default_rng(SEED), resamples=50)
    assert (other.value, other.low) == pytest.approx((one.value * unit, one.low * unit), rel=1e-6)


@pytest.mark.parametrize("machines", [2, 3, 5, 12])
@pytest.mark.parametrize("within", [0.002, 0.02])
def test_a_ratio_is_covered_however_few_the_machines(machines: int, within: float) -> None:
    """At least 92 % of 200 repetitions, where 95 % are asked for."""
    rng = np.random.default_rng(SEED)
    side = partial(fleet, rng, machines, between=0.02, within=within)
    covered = coverage(
        lambda: ratio_interval(side(), baseline=side(), rng=rng, resamples=300), repetitions=300
    )
    assert covered >= 0.92


def test_the_medians_of_two_machines_are_covered() -> None:
    """Where the plain percentile interval could reach half at most."""
    rng = np.random.default_rng(SEED)
    interval = partial(median_interval, rng=rng, resamples=300)
    assert coverage(lambda: interval(fleet(rng, 2, between=0.02, within=0.002)), repetitions=200) >= 0.92


def test_strata_of_single_machines_are_covered() -> None:
    """They borrow the spread of the sides that have two."""
    rng = np.random.default_rng(SEED)
    side = partial(fleet, rng, between=0.02, within=0.005)
    interval = partial(stratified_ratio_interval, rng=rng, resamples=300)
    assert coverage(lambda: interval([(side(1), side(2)) for _ in range(4)]), repetitions=200) >= 0.92


def test_pairs_are_covered_although_machines_differ_tenfold() -> None:
    """What differs between machines cancels, so intervals stay narrow."""
    rng = np.random.default_rng(SEED)

    def pair() -> tuple[Nested, Nested]:
        level = 10 ** rng.uniform(0, 1)
        runs = [[level * np.exp(rng.normal(0, 0.01, 3)) for _ in range(4)] for _ in range(2)]
        return Nested.of([runs[0]]), Nested.of([runs[1]])

    estimates = [
        paired_ratio_interval([pair() for _ in range(8)], rng=rng, resamples=300) for _ in range(150)
    ]
    assert sum(estimate.low <= 1 <= estimate.high for estimate in estimates) / 150 >= 0.92
    assert np.median([estimate.high / estimate.low for estimate in estimates]) < 1.04


def test_one_machine_says_nothing_of_its_kind_but_of_itself() -> None:
    """The interval is unbounded about the fleet, and bounded about these machines once they have two runs."""
    rng = np.random.default_rng(SEED)
    one, other = fleet(rng, 1, between=0, within=0.01), fleet(rng, 1, between=0, within=0.01)
    unbounded = (0.0, math.inf)
    for estimate in (
        median_interval(one, rng=rng),
        ratio_interval(one, baseline=other, rng=rng),
        paired_ratio_interval([(one, other)], rng=rng),
    ):
        assert (estimate.low, estimate.high) == unbounded
    about = ratio_interval(one, baseline=other, rng=rng, about="machines")
    assert 0.9 < about.low < about.value < about.high < 1.1
    single = Nested.of([[[1.0, 2.0]]])
    assert ratio_interval(single, baseline=single, rng=rng, about="machines").high == math.inf


def test_strata_are_never_pooled() -> None:
    """Faster on each chip stays faster where most machines are of the slow chip (Simpson)."""
    rng = np.random.default_rng(SEED)

    def side(machines: int, level: float) -> Nested:
        return Nested.of([[level * np.exp(rng.normal(0, 0.005, 3))] for _ in range(machines)])

    strata = [(side(9, 10.5), side(3, 10.0)), (side(3, 105.0), side(9, 100.0))]
    estimate = stratified_ratio_interval(strata, rng=rng)
    assert estimate.value == pytest.approx(1.05, abs=0.01)
    assert estimate.low > 1.02


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_what_has_no_logarithm_has_no_ratio(value: float) -> None:
    """It is refused, not turned into a NaN."""
    side = Nested.of([[[value]], [[1.0]]])
    with pytest.raises(ValueError, match="positive"):
        ratio_interval(side, baseline=side, rng=np.random.default_rng(SEED))
