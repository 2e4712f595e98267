"""How often these statistics find what is not there, and how seldom they miss what is.

A/A: the values of one series, of one machine and version, are split at random into two
halves, between which nothing can differ but by chance; whatever is called better or worse
is false.  Both directions are counted, and should be alike.  Power: one half is shifted
by a known share before the same comparison.  No source is needed: it is the definition
of both error rates, applied to values as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.bootstrap import ratio_interval
from llmenv_collector.statistics.judgement import Judgement, judge
from llmenv_collector.statistics.nested import Nested
from llmenv_collector.statistics.permutation import stratified_permutation_p
from llmenv_collector.statistics.proportions import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import ArrayLike, NDArray

    from llmenv_collector.statistics.estimate import Estimate

SHIFTS = (0.01, 0.02, 0.03, 0.05, 0.08, 0.10, 0.15, 0.20)
RESAMPLES = 500


@dataclass(frozen=True)
class FalsePositives:
    """`comparisons` made between halves, how many were called better and worse, and the rate of both."""

    comparisons: int
    better: int
    worse: int
    rate: Estimate


@dataclass(frozen=True)
class Power:
    """Share of planted shifts of one size that were found, in the right direction."""

    shift: float
    comparisons: int
    found: Estimate


def false_positives(
    series: Sequence[ArrayLike],
    *,
    rng: Generator,
    splits: int = 20,
    per_side: int | None = None,
    minimum_effect: float = 0.0,
    rate: float = 0.05,
) -> FalsePositives:
    """A/A over series, each shape (n,), positive, of any unit: `splits` random splits of each.

    `per_side` values a side, half of the series unless said; shorter series are left out.  With
    `minimum_effect` 0 whatever is significant counts, however small, which is more than a report calls
    a difference.
    Splits of one series are not independent: the interval is for the share over these series.
    ValueError: no series with two values a side.
    """
    judged = [
        _judge(candidate, baseline, rng=rng, minimum_effect=minimum_effect, rate=rate)
        for candidate, baseline in _halves(series, splits=splits, per_side=per_side, rng=rng)
    ]
    better, worse = judged.count(Judgement.BETTER), judged.count(Judgement.WORSE)
    return FalsePositives(len(judged), better, worse, clopper_pearson(better + worse, len(judged)))


def power_curve(
    series: Sequence[ArrayLike],
    *,
    rng: Generator,
    per_side: int,
    shifts: Sequence[float] = SHIFTS,
    splits: int = 20,
    minimum_effect: float = 0.03,
    rate: float = 0.05,
) -> list[Power]:
    """For each shift (0.05 is 5 %), the share found of shifts planted, half of them upwards, half downwards.

    Downwards means divided by 1 + shift, which is as far on the scale of ratios.  Series, splits and
    errors as for `false_positives`.
    """
    return [
        _power(
            series, shift, rng=rng, per_side=per_side, splits=splits, minimum_effect=minimum_effect, rate=rate
        )
        for shift in shifts
    ]


def _power(
    series: Sequence[ArrayLike],
    shift: float,
    *,
    rng: Generator,
    per_side: int,
    splits: int,
    minimum_effect: float,
    rate: float,
) -> Power:
    found = comparisons = 0
    for candidate, baseline in _halves(series, splits=splits, per_side=per_side, rng=rng):
        upwards = comparisons % 2 == 0
        moved = candidate * (1 + shift) if upwards else candidate / (1 + shift)
        judged = _judge(moved, baseline, rng=rng, minimum_effect=minimum_effect, rate=rate)
        found += judged is (Judgement.BETTER if upwards else Judgement.WORSE)
        comparisons += 1
    return Power(shift, comparisons, clopper_pearson(found, comparisons))


def _judge(
    candidate: NDArray[np.float64],
    baseline: NDArray[np.float64],
    *,
    rng: Generator,
    minimum_effect: float,
    rate: float,
) -> Judgement:
    """As a report does it for two sets of runs of one machine, where more is better."""
    sides = [Nested.of([[[value] for value in side]]) for side in (candidate, baseline)]
    ratio = ratio_interval(sides[0], baseline=sides[1], rng=rng, resamples=RESAMPLES, about="machines")
    p_value = stratified_permutation_p([(candidate, baseline)], rng=rng, permutations=999, refine_below=0.0)
    return judge(ratio, q_value=p_value, direction="higher", minimum_effect=minimum_effect, rate=rate)


def _halves(
    series: Sequence[ArrayLike], *, splits: int, per_side: int | None, rng: Generator
) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    pairs: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []
    for values in series:
        whole = np.asarray(values, dtype=np.float64).ravel()
        size = per_side or whole.size // 2
        if size < 2 or whole.size < 2 * size:
            continue
        shuffled = (rng.permutation(whole) for _ in range(splits))
        pairs.extend((each[:size], each[size : 2 * size]) for each in shuffled)
    if not pairs:
        raise ValueError("An A/A comparison needs a series with two values a side.")
    return pairs
