"""Did the level of a series change, however alike its neighbours are.

Wilcoxon's statistic for a change after k of n values, over what the ranks of either side
sway by themselves in place of an estimate of their long-run variance, which sixty values
hardly allow (Betken, Journal of Time Series Analysis 37, 2016, 785-809, section 2; Shao and
Zhang, Journal of the American Statistical Association 105, 2010, 1228-1240).  With S_t the
sum of the first t ranks less their mean,

    G = n S_k^2 / (sum_t<=k (S_t - t/k S_k)^2 + sum_t>k (S_t - (n - t)/(n - k) S_k)^2)

For long series its distribution does not depend on how neighbours depend on one another; for
short ones it does a little, so the draws that it is held against are autoregressive with
the correlation that the series has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.correlation import autoregressive
from llmenv_collector.statistics.ranks import average_ranks
from llmenv_collector.statistics.sequential import sequential_p

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

AT_ONCE = 40
LEAST = 1e-9
"""Where neither side sways at all: what rounding leaves is no less."""


def self_normalised(ranks: NDArray[np.float64], points: NDArray[np.int64]) -> NDArray[np.float64]:
    """G at each of `points`, the first index after the change; `ranks` (..., n), returned (..., points)."""
    length = ranks.shape[-1]
    sums = np.cumsum(ranks - ranks.mean(axis=-1, keepdims=True), axis=-1)
    at, passed = sums[..., points - 1], np.arange(1.0, length + 1)
    left = length - passed
    squares = np.cumsum(sums**2, axis=-1)
    forwards, backwards = np.cumsum(passed * sums, axis=-1), np.cumsum(left * sums, axis=-1)
    slope, fall = at / points, at / (length - points)
    before = squares[..., points - 1] - 2 * slope * forwards[..., points - 1]
    before += slope**2 * np.cumsum(passed**2)[points - 1]
    after = squares[..., -1:] - squares[..., points - 1]
    after -= 2 * fall * (backwards[..., -1:] - backwards[..., points - 1])
    after += fall**2 * (np.sum(left**2) - np.cumsum(left**2)[points - 1])
    swaying = np.maximum(before + after, LEAST)
    statistic: NDArray[np.float64] = length * at**2 / swaying
    return statistic


def level_change_p(
    series: NDArray[np.float64],
    points: NDArray[np.int64],
    *,
    correlation: float,
    rng: Generator,
    draws: int,
) -> float:
    """P of the largest G over `points` in a series (n,) whose level stays, its neighbours so much alike."""

    def draw(count: int) -> NDArray[np.float64]:
        drawn = autoregressive(rng.standard_normal((count, len(series))), correlation)
        ranks = np.argsort(np.argsort(drawn, axis=1), axis=1).astype(np.float64)
        largest: NDArray[np.float64] = self_normalised(ranks, points).max(axis=1)
        return largest

    observed = float(self_normalised(average_ranks(series), points).max())
    return sequential_p(draw, observed=observed, draws=draws, at_once=AT_ONCE)
