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

G has little power where one side is short beside the other, as the newest values of a long
history are: the sum beneath grows with the square of the long side.  There S_k is held
against how the long side sways over pieces of itself,

    H = n S_k^2 / (k (n - k) v),  v the mean over pieces of length p of 6 sum(S^2) / (p^2 - 1)

with S the sums of a piece's ranks less their mean: v estimates the long-run variance.
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
SHORT_SIDE = 6
"""A side is short where the series is more than so many times as long."""
PIECE = 40
"""Shorter ones say less of a slow part beneath what each run adds."""
FEWEST_PIECES = 2
"""Of a long side."""
WEIGHT = 5.0
"""Of H beside G: of 4 % of white series of 120 or 372 values the largest G is above 44, H above 12."""
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


def beside_long(ranks: NDArray[np.float64], points: NDArray[np.int64]) -> NDArray[np.float64]:
    """H at each of `points`, before which the long side lies; shapes as for `self_normalised`."""
    length = ranks.shape[-1]
    sums = np.cumsum(ranks - ranks.mean(axis=-1, keepdims=True), axis=-1)[..., points - 1]
    pieces = ranks[..., : length // PIECE * PIECE].reshape(*ranks.shape[:-1], -1, PIECE)
    within = np.cumsum(pieces - pieces.mean(axis=-1, keepdims=True), axis=-1)
    swaying = np.cumsum((within**2).sum(axis=-1) * 6 / (PIECE**2 - 1), axis=-1)
    whole = points // PIECE
    variance = np.maximum(swaying[..., whole - 1] / whole, LEAST)
    statistic: NDArray[np.float64] = length * sums**2 / (points * (length - points) * variance)
    return statistic


def largest_change(ranks: NDArray[np.float64], points: NDArray[np.int64]) -> NDArray[np.float64]:
    """The largest G over `points`, or weighted H over those with a short side; (..., n) to (...)."""
    length = ranks.shape[-1]
    largest: NDArray[np.float64] = self_normalised(ranks, points).max(axis=-1)
    for side, ends in ((ranks, points), (ranks[..., ::-1], length - points)):
        is_beside_long = (SHORT_SIDE * (length - ends) < length) & (ends >= FEWEST_PIECES * PIECE)
        if is_beside_long.any():
            largest = np.maximum(largest, WEIGHT * beside_long(side, ends[is_beside_long]).max(axis=-1))
    return largest


def level_change_p(
    series: NDArray[np.float64],
    points: NDArray[np.int64],
    *,
    correlation: float,
    rng: Generator,
    draws: int,
) -> float:
    """P of `largest_change` of a series (n,) whose level stays, its neighbours so much alike."""

    def draw(count: int) -> NDArray[np.float64]:
        drawn = autoregressive(rng.standard_normal((count, len(series))), correlation)
        ranks = np.argsort(np.argsort(drawn, axis=1), axis=1).astype(np.float64)
        return largest_change(ranks, points)

    observed = float(largest_change(average_ranks(series), points))
    return sequential_p(draw, observed=observed, draws=draws, at_once=AT_ONCE)
