"""Rank sums within strata and intervals of grouped medians: exact where they say so, against scipy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from llmenv_collector.statistics.bootstrap import paired_ratio_interval, stratified_ratio_interval
from llmenv_collector.statistics.grouped import (
    median_ratio_interval,
    paired_results_ratio_interval,
    stratified_median_ratio_interval,
)
from llmenv_collector.statistics.nested import Nested
from llmenv_collector.statistics.ranks import average_ranks
from llmenv_collector.statistics.stratified_ranks import EXACT_UP_TO, stratified_rank_sum_p


@pytest.mark.parametrize(("few", "many"), [(1, 7), (3, 3), (5, 9), (12, 14)])
def test_one_stratum_is_the_exact_rank_sum_test_of_scipy(few: int, many: int) -> None:
    """Within 1e-9, whichever side is the smaller one."""
    rng = np.random.default_rng(few)
    candidate, baseline = rng.normal(0.7, 1, few), rng.normal(0, 1, many)
    expected = scipy.stats.mannwhitneyu(candidate, baseline, method="exact").pvalue
    assert stratified_rank_sum_p([(candidate, baseline)]) == pytest.approx(expected, abs=1e-9)
    assert stratified_rank_sum_p([(baseline, candidate)]) == pytest.approx(expected, abs=1e-9)


def test_strata_with_ties_are_all_arrangements_counted() -> None:
    """Two small strata, enumerated here one by one."""
    strata = [([1, 2, 2], [2, 3]), ([5, 5], [4, 6, 6])]
    scores = [2 * average_ranks(np.array([*c, *b], dtype=float)) - (len(c) + len(b) + 1) for c, b in strata]
    sums = [
        [sum(score[list(taken)]) for taken in itertools.combinations(range(len(score)), len(candidate))]
        for score, (candidate, _) in zip(scores, strata, strict=True)
    ]
    observed = abs(
        sum(score[: len(candidate)].sum() for score, (candidate, _) in zip(scores, strata, strict=True))
    )
    every = [abs(one + other) for one in sums[0] for other in sums[1]]
    expected = sum(value >= observed - 1e-9 for value in every) / len(every)
    assert stratified_rank_sum_p(strata) == pytest.approx(expected, abs=1e-12)


def test_many_values_are_taken_as_normal_like_scipy_does() -> None:
    """One stratum beyond what is counted, with ties."""
    rng = np.random.default_rng(2)
    candidate, baseline = np.round(rng.normal(0.2, 1, 80), 1), np.round(rng.normal(0, 1, 70), 1)
    expected = scipy.stats.mannwhitneyu(candidate, baseline, method="asymptotic", use_continuity=False).pvalue
    assert stratified_rank_sum_p([(candidate, baseline)]) == pytest.approx(expected, abs=1e-9)


def test_the_exact_and_the_normal_p_meet() -> None:
    """At the size where one gives way to the other."""
    rng = np.random.default_rng(3)
    n = EXACT_UP_TO // 2
    for _ in range(20):
        candidate, baseline = rng.normal(0.3, 1, n), rng.normal(0, 1, n)
        exact = stratified_rank_sum_p([(candidate, baseline)])
        normal = scipy.stats.mannwhitneyu(
            candidate, baseline, method="asymptotic", use_continuity=False
        ).pvalue
        assert exact == pytest.approx(normal, abs=0.03)


def test_strata_never_meet() -> None:
    """Simpson: the candidate has most of the fast stratum and is slower in both."""
    rng = np.random.default_rng(4)
    slow = (10 * 0.9 * np.exp(rng.normal(0, 0.02, 4)), 10 * np.exp(rng.normal(0, 0.02, 12)))
    fast = (40 * 0.9 * np.exp(rng.normal(0, 0.02, 12)), 40 * np.exp(rng.normal(0, 0.02, 4)))
    assert stratified_rank_sum_p([slow, fast]) < 1e-4
    ratio = stratified_median_ratio_interval(
        [tuple(map(np.log, slow)), tuple(map(np.log, fast))], rng=np.random.default_rng(0)
    )
    assert ratio.high < 1
    scaled = [slow, (fast[0] * 1e6, fast[1] * 1e6)]
    assert stratified_rank_sum_p(scaled) == stratified_rank_sum_p([slow, fast])


def test_p_keeps_its_level_where_nothing_differs() -> None:
    """Of 2,000 comparisons of few values, at most one in twenty is below 0.05, but for chance."""
    rng = np.random.default_rng(5)
    below = sum(
        stratified_rank_sum_p(
            [(rng.normal(size=4), rng.normal(size=5)), (rng.normal(size=3), rng.normal(size=3))]
        )
        <= 0.05
        for _ in range(2_000)
    )
    assert scipy.stats.binomtest(below, 2_000, 0.05, alternative="greater").pvalue > 0.001


def test_what_says_nothing_is_left_out() -> None:
    """A stratum without a side, all values equal, or no stratum at all."""
    assert stratified_rank_sum_p([]) == 1.0
    assert stratified_rank_sum_p([([], [1.0])]) == 1.0
    assert stratified_rank_sum_p([([1.0] * 40, [1.0] * 40)]) == 1.0
    with pytest.raises(ValueError, match="finite"):
        stratified_rank_sum_p([([math.nan], [1.0])])


def test_grouped_intervals_are_those_of_the_bootstrap() -> None:
    """For machines of one value each, both give the same interval but for chance."""
    rng = np.random.default_rng(6)
    strata = [
        (rng.normal(0.05, 0.02, 20), rng.normal(0, 0.02, 30)),
        (rng.normal(1.05, 0.02, 1), rng.normal(1, 0.02, 9)),
    ]
    grouped = stratified_median_ratio_interval(strata, rng=rng, resamples=20_000)
    sides = [
        tuple(Nested.of([[[math.exp(value)]] for value in side]) for side in stratum) for stratum in strata
    ]
    nested = stratified_ratio_interval(sides, rng=rng, resamples=20_000)
    assert grouped.value == pytest.approx(nested.value, rel=1e-3)
    assert grouped.low == pytest.approx(nested.low, abs=0.002)
    assert grouped.high == pytest.approx(nested.high, abs=0.002)


@pytest.mark.parametrize("results", [[(12, 9)], [(8, 8), (1, 12), (20, 5)]])
def test_intervals_of_few_machines_are_those_of_the_bootstrap(results: list[tuple[int, int]]) -> None:
    """About these very machines, by their results; a side of one result borrows the spread of the others."""
    rng = np.random.default_rng(7)
    pairs = [(rng.normal(0.1, 0.02, one), rng.normal(0, 0.02, other)) for one, other in results]
    grouped = paired_results_ratio_interval(pairs, rng=rng, resamples=20_000)
    sides = [tuple(Nested.of([[[math.exp(value)] for value in side]]) for side in pair) for pair in pairs]
    nested = paired_ratio_interval(sides, rng=rng, resamples=20_000, about="machines")
    assert grouped.value == pytest.approx(nested.value, rel=1e-3)
    assert grouped.low == pytest.approx(nested.low, abs=0.003)
    assert grouped.high == pytest.approx(nested.high, abs=0.003)


@pytest.mark.parametrize("machines", [13, 20, 101])
def test_the_interval_of_paired_ratios_covers_the_true_one(machines: int) -> None:
    """In at least 93 of 100 of 600 fleets, also for noise with heavy tails."""
    rng = np.random.default_rng(machines)
    covered = 0
    for _ in range(600):
        found = median_ratio_interval(math.log(0.9) + 0.02 * rng.standard_t(3, machines))
        covered += found.low <= 0.9 <= found.high
    assert covered / 600 >= 0.93


def test_few_machines_leave_the_interval_open() -> None:
    """One pair, or one machine a side, says nothing of a fleet."""
    assert median_ratio_interval(np.array([0.1])).high == math.inf
    lone = (np.array([0.1]), np.array([0.0]))
    found = stratified_median_ratio_interval([lone], rng=np.random.default_rng(0))
    assert (found.low, found.high) == (0.0, math.inf)
    with pytest.raises(ValueError, match="needs a ratio"):
        median_ratio_interval(np.array([]))
    with pytest.raises(ValueError, match="both sides"):
        stratified_median_ratio_interval([], rng=np.random.default_rng(0))
