"""Intervals of ratios where each machine is one value: the bootstrap of a median without its draws.

The same intervals as `bootstrap` gives for sides whose machines have one run of one
trial, with the same corrections, for fleets of so many machines that runs and trials
within them no longer matter and drawing each machine anew takes too long.  The median
of n values drawn with replacement from n ordered ones is the value whose index is a
quantile of the uniform order statistic (David and Nagaraja, Order Statistics, 3rd ed.
2003, section 2.5), which is a beta distribution: its quantiles need no draw at all.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.beta import beta_quantile
from llmenv_collector.statistics.deviations import Units
from llmenv_collector.statistics.estimate import Estimate
from llmenv_collector.statistics.nested import Nested
from llmenv_collector.statistics.resampling import machine_draws

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray


def median_ratio_interval(log_ratios: NDArray[np.float64], *, confidence: float = 0.95) -> Estimate:
    """Median of ratios, one a machine and independent, given as logarithms of shape (n,).

    One machine leaves the interval unbounded.  ValueError: no ratio.
    """
    if not log_ratios.size:
        raise ValueError("An interval needs a ratio.")
    ordered = np.sort(log_ratios)
    n, centre = len(ordered), float(np.median(ordered))
    if n == 1:
        return Estimate(math.exp(centre), 0.0, math.inf)
    tail = (1 - confidence) / 2
    widening = math.sqrt(n / (n - 1)) * Units.of_groups([ordered]).widening(confidence)
    low, high = ((_redrawn_median(ordered, share) - centre) * widening for share in (tail, 1 - tail))
    return Estimate(math.exp(centre), math.exp(centre + min(low, 0.0)), math.exp(centre + max(high, 0.0)))


def _redrawn_median(ordered: NDArray[np.float64], share: float) -> float:
    """That quantile of the median of as many values drawn anew; of an even count, of both middles."""
    n = len(ordered)
    ranks = {(n + 1) // 2, n // 2 + 1}
    return float(np.mean([ordered[min(n - 1, int(n * _beta_quantile(share, rank, n)))] for rank in ranks]))


@functools.lru_cache(maxsize=10_000)
def _beta_quantile(share: float, rank: int, n: int) -> float:
    return beta_quantile(share, rank, n - rank + 1)


def paired_results_ratio_interval(
    pairs: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    rng: Generator,
    confidence: float = 0.95,
    resamples: int = 1_000,
) -> Estimate:
    """Median over these very machines of the ratio of their medians, for pairs of (candidate, baseline).

    Each side of a pair is the logarithms of one machine's results, shape (n,).  It is what
    `bootstrap.paired_ratio_interval` says about these machines where runs have one trial each.
    A side of one result borrows the spread of the others; none of two leaves the interval unbounded.
    ValueError: no pair, or a side without result.
    """
    sides = [side for pair in pairs for side in pair]
    if not sides or not all(side.size for side in sides):
        raise ValueError("A ratio needs both sides of a pair.")
    units = Units.of_groups(sides)
    middles = np.array([np.median(side) for side in sides])
    centre = float(np.median(middles[::2] - middles[1::2]))
    if not units.degrees:
        return Estimate(math.exp(centre), 0.0, math.inf)
    strayed = np.stack([_deviations(side, units, rng=rng, resamples=resamples) for side in sides], axis=1)
    drawn = middles[::2] + strayed[:, ::2] - middles[1::2] - strayed[:, 1::2]
    tail = (1 - confidence) / 2
    deviations = np.quantile(np.median(drawn, axis=1) - centre, [tail, 1 - tail])
    low, high = deviations * units.widening(confidence)
    return Estimate(math.exp(centre), math.exp(centre + min(low, 0.0)), math.exp(centre + max(high, 0.0)))


def stratified_median_ratio_interval(
    strata: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]],
    *,
    rng: Generator,
    confidence: float = 0.95,
    resamples: int = 1_000,
) -> Estimate:
    """The ratio common to strata of (candidate, baseline), each the logarithms of its machines' values.

    Weights and corrections are those of `bootstrap.stratified_ratio_interval`.  A side of one machine
    borrows the spread of the others; no side of two leaves the interval unbounded.
    ValueError: no stratum, or a side without machine.
    """
    if not strata or not all(side.size for stratum in strata for side in stratum):
        raise ValueError("A ratio needs both sides of a stratum.")
    units = Units.of_groups([side for stratum in strata for side in stratum])
    weights = np.array([c.size * b.size / (c.size + b.size) for c, b in strata])
    weights /= weights.sum()
    centre = float(weights @ np.array([np.median(c) - np.median(b) for c, b in strata]))
    if not units.degrees:
        return Estimate(math.exp(centre), 0.0, math.inf)
    drawn = np.zeros(resamples)
    for weight, (candidate, baseline) in zip(weights, strata, strict=True):
        drawn += weight * _deviations(candidate, units, rng=rng, resamples=resamples)
        drawn -= weight * _deviations(baseline, units, rng=rng, resamples=resamples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail]) * units.widening(confidence)
    return Estimate(math.exp(centre), math.exp(centre + min(low, 0.0)), math.exp(centre + max(high, 0.0)))


def _deviations(
    side: NDArray[np.float64], units: Units, *, rng: Generator, resamples: int
) -> NDArray[np.float64]:
    """Of the median of machines drawn anew, on the log scale, shape (resamples,)."""
    n = side.size
    if n == 1:
        return rng.normal(0.0, units.spread, resamples)
    # The machines of a side stand where a run has its trials: both are redrawn in one go.
    ordered = Nested(np.sort(side), np.array([n]), np.array([1]))
    medians = machine_draws(ordered, np.zeros((resamples, 1), dtype=np.int64), rng=rng)[:, 0]
    deviations: NDArray[np.float64] = (medians - float(np.median(side))) * math.sqrt(n / (n - 1))
    return deviations
