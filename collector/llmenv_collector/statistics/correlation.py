"""How alike neighbours of a series are, whatever its level did and however heavy its tails.

The correlation at lag 1 of ranks within each part between changes: a run that lost a tenth
of its speed is one rank among others, where values would let it hide that the rest is
correlated (Spearman, American Journal of Psychology 15, 1904, 72-101, applied to neighbours).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.ranks import average_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

HIGHEST = 0.9
FEWEST_BLOCKS = 8


def neighbour_correlation(series: NDArray[np.float64], points: Sequence[int]) -> float:
    """From 0 to HIGHEST, of a series (n,) whose level changes at `points`.

    Corrected for its bias of -(1 + 4 r) / n a part (Kendall, Biometrika 41, 1954, 403-404), which
    each level that is taken away leaves.
    """
    parts = np.split(series, points)
    rest = np.concatenate([average_ranks(part) - (len(part) + 1) / 2 for part in parts])
    biased = _lag_one(rest)
    corrected = biased + (1 + 4 * biased) * len(parts) / len(series)
    return min(max(corrected, 0.0), HIGHEST)


def block_length(correlation: float, length: int) -> int:
    """So many neighbours whose medians are hardly alike: 2 (2 r / (1 - r^2))^(2/3) n^(1/3).

    Twice the rule for an autoregressive series whose correlation at lag 1 is r (Carlstein, Annals
    of Statistics 14, 1986, 1171-1179); at least 1, at most n / FEWEST_BLOCKS.
    """
    wanted: float = 2 * (2 * correlation / (1 - correlation**2)) ** (2 / 3) * length ** (1 / 3)
    return max(1, min(round(wanted), length // FEWEST_BLOCKS))


def autoregressive(innovations: NDArray[np.float64], correlation: float) -> NDArray[np.float64]:
    """Series (..., n) in their long-run distribution, of innovations (..., n), correlated so at lag 1."""
    if not correlation:
        return innovations
    series = innovations.copy()
    series[..., 0] /= math.sqrt(1 - correlation**2)
    for index in range(1, series.shape[-1]):
        series[..., index] += correlation * series[..., index - 1]
    return series


def innovations(series: NDArray[np.float64], correlation: float) -> NDArray[np.float64]:
    """What each value (n,) adds to what the one before it lets expect: `autoregressive` undone."""
    new = series.copy()
    new[1:] -= correlation * series[:-1]
    new[0] *= math.sqrt(1 - correlation**2)
    return new


def _lag_one(values: NDArray[np.float64]) -> float:
    squares = float(values @ values)
    return float(values[1:] @ values[:-1]) / squares if squares > 0 else 0.0
