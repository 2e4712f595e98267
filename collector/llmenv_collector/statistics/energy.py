"""Where does a series change most, and is that more than chance: the energy statistic.

Matteson and James, A Nonparametric Approach for Multiple Change Point Analysis of
Multivariate Data, Journal of the American Statistical Association 109 (2014), 334-345,
section 2, with exponent 1: for the n values before and the m from a point on,

    Q = n m / (n + m) (2 mean|x - y| - mean|x - x'| - mean|y - y'|)

over pairs of different values.  It sees changes of spread and shape as well as of level.
The second side always reaches to the end of the part that is searched.

Significance is by permutation (the same, section 3.2).  Values of neighbouring runs are
alike where a series is autocorrelated, and single values exchanged would call that a
change; so blocks of neighbours are exchanged, of a length that follows from the
autocorrelation at lag 1 (see `block_length`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

FEWEST_BLOCKS = 8
SHORT = 128
"""Up to here pairs are faster than pieces."""
KEPT = 0.85
HIGHEST = 0.95
CELLS_AT_ONCE = 1 << 21
ENOUGH_BEYOND = 10
"""A p is settled when so many permutations were at least as extreme."""


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
    observed: float,
    block: int,
    rng: Generator,
    permutations: int,
) -> float:
    """P of the largest Q over `points` being at least `observed` in a series (n,) without change.

    (b + 1) / (m + 1) of m permutations; a p that is plainly large is settled early, when
    ENOUGH_BEYOND were at least as extreme, as that many over the permutations made
    (Besag and Clifford, Sequential Monte Carlo p-values, Biometrika 78, 1991, 301-304).
    """
    at_once = max(1, min(ENOUGH_BEYOND, CELLS_AT_ONCE // (len(series) * min(len(series), SHORT))))
    beyond = made = 0
    least = observed * (1 - 1e-9)
    while made < permutations:
        count = min(at_once, permutations - made)
        permuted = permuted_blocks(series, block=block, count=count, rng=rng)
        hits = np.flatnonzero(divergences(permuted, points).max(axis=-1) >= least)
        if beyond + len(hits) >= ENOUGH_BEYOND:
            return ENOUGH_BEYOND / (made + int(hits[ENOUGH_BEYOND - beyond - 1]) + 1)
        beyond, made = beyond + len(hits), made + count
    return (beyond + 1) / (permutations + 1)


def permuted_blocks(
    series: NDArray[np.float64], *, block: int, count: int, rng: Generator
) -> NDArray[np.float64]:
    """`count` series, shape (count, n), of the blocks of `series` in random order, cut at random places."""
    length = len(series)
    if block == 1:
        return rng.permuted(np.broadcast_to(series, (count, length)), axis=1)
    place = (np.arange(length) + rng.integers(length, size=(count, 1))) % length
    keys = np.take_along_axis(rng.random((count, -(-length // block))), np.arange(length)[None] // block, 1)
    return np.take_along_axis(series[place], np.argsort(keys, axis=1, kind="stable"), 1)


def block_length(series: NDArray[np.float64], point: int) -> int:
    """Length of the blocks that are exchanged: 2 (2 r / (1 - r^2))^(2/3) n^(1/3), rounded, at least 1.

    Twice the rule for an autoregressive series whose correlation at lag 1 is r (Carlstein, Annals
    of Statistics 14, 1986, 1171-1179): at once that length the test called more series changed
    than its level says.  r is the lower of two estimates, since a change that is not known yet raises
    the first: the correlation with each side's median taken away, corrected for its bias of
    -(1 + 4 r) / n (Kendall, Biometrika 41, 1954, 403-404), and
    `correlation_despite_changes`.  Below its
    standard error 1 / sqrt(n) it counts as none.  At most n / FEWEST_BLOCKS.
    """
    correlation = min(correlation_within(series, [point]), correlation_despite_changes(series))
    return block_for(correlation, len(series)) if correlation > 1 / math.sqrt(len(series)) else 1


def correlation_within(series: NDArray[np.float64], points: Sequence[int]) -> float:
    """Correlation at lag 1 with the median of each part taken away, corrected for the bias that leaves."""
    rest = np.concatenate([part - np.median(part) for part in np.split(series, points)])
    biased = _lag_one(rest)
    return biased + (1 + 4 * biased) * len(points) / len(series)


def block_for(correlation: float, length: int) -> int:
    """The rule of `block_length` for an r that is known."""
    r = min(correlation, HIGHEST)
    if r <= 0:
        return 1
    wanted = 2 * (2 * r / (1 - r**2)) ** (2 / 3) * length ** (1 / 3)
    return int(max(1, min(round(wanted), length // FEWEST_BLOCKS)))


def correlation_despite_changes(series: NDArray[np.float64]) -> float:
    """Correlation at lag 1 of an autoregressive series whose level may change.

    The variance of differences at lag 2 is 1 + r times that at lag 1 (Chakar, Lebarbier, Levy-Leduc
    and Robin, Bernoulli 23, 2017, 1408-1447, section 2); the largest differences, among which are
    those across a change, are left out of both.
    """
    one, two = (np.sort((series[lag:] - series[:-lag]) ** 2) for lag in (1, 2))
    kept = [float(squares[: max(1, int(KEPT * len(squares)))].mean()) for squares in (one, two)]
    return kept[1] / kept[0] - 1 if kept[0] > 0 else 0.0


def _lag_one(values: NDArray[np.float64]) -> float:
    squares = float(values @ values)
    return float(values[1:] @ values[:-1]) / squares if squares > 0 and math.isfinite(squares) else 0.0
