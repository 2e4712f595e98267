"""Where does a series change most, and is that more than chance: the energy statistic.

Matteson and James, A Nonparametric Approach for Multiple Change Point Analysis of
Multivariate Data, Journal of the American Statistical Association 109 (2014), 334-345,
section 2, with exponent 1: for the n values before and the m from a point on,

    Q = n m / (n + m) (2 mean|x - y| - mean|x - x'| - mean|y - y'|)

over pairs of different values.  It sees changes of spread and shape as well as of level.
The second side always reaches to the end of the part that is searched.

Significance is by permutation (the same, section 3.2), exact where values are independent.
Neighbouring runs are alike where a series is autocorrelated, and values exchanged would call
that a change; so what is exchanged is what each value adds to what the one before it lets
expect, and the series is put together again (residuals of an autoregression, as in the sieve
bootstrap: Buhlmann, Bernoulli 3, 1997, 123-148).  The level on either side of the strongest point
is taken away first, without which a change would count as correlation.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.correlation import autoregressive, innovations
from llmenv_collector.statistics.sequential import ENOUGH_BEYOND, sequential_p

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

SHORT = 128
"""Up to here pairs are faster than pieces."""
CELLS_AT_ONCE = 1 << 21


def divergences(series: NDArray[np.float64], points: NDArray[np.int64]) -> NDArray[np.float64]:
    """Q at each of `points`, the first index after the change; `series` (..., n), returned (..., points).

    In the unit of the values.  Each side needs two values.
    """
    length = series.shape[-1]
    to_earlier = distances_to_earlier(series)
    to_later = _distances_to_all(series) - to_earlier
    before = np.cumsum(to_earlier, axis=-1)[..., points - 1]
    from_here = np.cumsum(to_later[..., ::-1], axis=-1)[..., ::-1][..., points]
    across = to_earlier.sum(axis=-1)[..., None] - before - from_here
    n, m = points, length - points
    spread = 2 * (across / n / m - before / n / (n - 1) - from_here / m / (m - 1))
    weighted: NDArray[np.float64] = spread * n * m / length
    return weighted


def _distances_to_all(series: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.argsort(series, axis=-1)
    ascending = np.take_along_axis(series, order, -1)
    below = np.cumsum(ascending, axis=-1)
    length = series.shape[-1]
    summed = ascending * (2 * np.arange(1, length + 1) - length) + below[..., -1:] - 2 * below
    distances = np.empty_like(series)
    np.put_along_axis(distances, order, summed, -1)
    return distances


def distances_to_earlier(series: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of the distances of each value to those before it, shape of `series` (..., n).

    Long series are cut into pieces of sqrt(n): distances within a piece are taken pair by pair,
    those to earlier pieces from sums over their values in ascending order, which costs n^(3/2).
    """
    rows = series.reshape(-1, series.shape[-1])
    length = rows.shape[1]
    size = length if length <= SHORT else math.isqrt(length) + 1
    padded = np.zeros((len(rows), -(-length // size) * size))
    padded[:, :length] = rows
    pieces = padded.reshape(len(rows), -1, size)
    pairs = np.abs(pieces[..., :, None] - pieces[..., None, :]) * np.tri(size, k=-1)
    near = pairs.sum(axis=-1).reshape(len(rows), -1)[:, :length]
    if size < length:
        near = near + _distances_to_earlier_pieces(rows, size)
    distances: NDArray[np.float64] = near.reshape(series.shape)
    return distances


def _distances_to_earlier_pieces(rows: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    length = rows.shape[1]
    ranks = np.argsort(np.argsort(rows, axis=1), axis=1)
    piece = np.broadcast_to(np.arange(length) // size, rows.shape)
    at = np.arange(len(rows))[:, None]
    counts, sums = np.zeros((2, len(rows), -(-length // size) + 1, length))
    counts[at, piece + 1, ranks] = 1
    sums[at, piece + 1, ranks] = rows
    for table in (counts, sums):
        # Row p, column r: over the pieces before p, values of at most rank r.
        np.cumsum(table, axis=1, out=table)
        np.cumsum(table, axis=2, out=table)
    below = rows * counts[at, piece, ranks] - sums[at, piece, ranks]
    above = sums[at, piece, -1] - sums[at, piece, ranks]
    above -= rows * (counts[at, piece, -1] - counts[at, piece, ranks])
    distances: NDArray[np.float64] = below + above
    return distances


def strongest(series: NDArray[np.float64], points: NDArray[np.int64]) -> tuple[int, float]:
    """The point of `points` with the largest Q, and that Q."""
    found = divergences(series, points)
    best = int(np.argmax(found))
    return int(points[best]), float(found[best])


def strongest_p(
    series: NDArray[np.float64],
    points: NDArray[np.int64],
    *,
    point: int,
    observed: float,
    correlation: float,
    rng: Generator,
    permutations: int,
) -> float:
    """P of the largest Q over `points`, `observed` at `point`, in a series (n,) without change.

    Its neighbours are so much alike: `correlation` is that at lag 1 beside the change.
    """
    levelled = series
    if correlation:
        levelled = np.concatenate([side - np.median(side) for side in np.split(series, [point])])
    exchanged = innovations(levelled, correlation)

    def draw(count: int) -> NDArray[np.float64]:
        permuted = rng.permuted(np.broadcast_to(exchanged, (count, len(series))), axis=1)
        found = divergences(autoregressive(permuted, correlation), points)
        largest: NDArray[np.float64] = found.max(axis=-1)
        return largest

    at_once = max(1, min(ENOUGH_BEYOND, CELLS_AT_ONCE // (len(series) * min(len(series), SHORT))))
    return sequential_p(draw, observed=observed, draws=permutations, at_once=at_once)
