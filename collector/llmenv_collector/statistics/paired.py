"""Did the same machines change: tests on the differences of pairs.

Differences of logarithms make both tests blind to the unit.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.ranks import average_ranks, tie_sizes

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 50
ENUMERATED_UP_TO = 14
CELLS_AT_ONCE = 1 << 20
NEARLY = 1e-9
"""Statistics this near, relative to the largest possible one, count as equal."""


def signed_rank_p(differences: ArrayLike) -> float:
    """Two-sided p of the signed-rank test that the differences, shape (n,), are symmetric about zero.

    Wilcoxon, Biometrics Bulletin 1 (1945) 80-83.  Zeros are left out before ranking, tied sizes
    share their average rank (scipy's `zero_method="wilcox"`).  Up to EXACT_UP_TO differences the
    distribution over all 2^n signs of the ranks at hand is counted by dynamic programming (Hollander,
    Wolfe and Chicken, Nonparametric Statistical Methods, 3rd ed. 2014, section 3.1), which stays exact
    with ties; beyond, the normal approximation with tie correction, without continuity correction.
    No difference but zeros gives 1.  ValueError: a difference that is not finite.
    """
    values = _finite(differences)
    values = values[values != 0]
    if not values.size:
        return 1.0
    ranks = average_ranks(np.abs(values))
    positive = float(ranks[values > 0].sum())
    if values.size <= EXACT_UP_TO:
        return _exact_p(ranks, positive)
    return _normal_p(ranks, positive)


def _exact_p(ranks: NDArray[np.float64], positive: float) -> float:
    doubled = np.rint(2 * ranks).astype(np.int64)
    ways = np.zeros(int(doubled.sum()) + 1)
    ways[0] = 1.0
    for rank in doubled:
        ways[rank:] += ways[:-rank].copy()
    observed = round(2 * positive)
    tail = min(ways[: observed + 1].sum(), ways[observed:].sum())
    return min(1.0, 2 * float(tail) / 2.0 ** len(ranks))


def _normal_p(ranks: NDArray[np.float64], positive: float) -> float:
    n = len(ranks)
    ties = tie_sizes(ranks)
    variance = n * (n + 1) * (2 * n + 1) / 24 - float(np.sum(ties**3 - ties)) / 48
    z = (positive - n * (n + 1) / 4) / math.sqrt(variance)
    return 2 * NormalDist().cdf(-abs(z))


def sign_flip_p(differences: ArrayLike, *, rng: Generator, permutations: int = 9_999) -> float:
    """Two-sided p that the mean of the differences, shape (n,), is zero, by flipping their signs.

    Fisher, The Design of Experiments (1935), section 21.  Up to ENUMERATED_UP_TO differences all
    2^n signs are enumerated and p is exact; beyond, signs are drawn and p = (b + 1) / (m + 1)
    (Phipson and Smyth, Statistical Applications in Genetics and Molecular Biology 9, 2010, article 39).
    ValueError: no difference, or one that is not finite.
    """
    values = _finite(differences)
    if not values.size:
        raise ValueError("A paired test needs a difference.")
    sizes = np.sort(np.abs(values))
    least = abs(values.sum()) - NEARLY * sizes.sum()
    if values.size <= ENUMERATED_UP_TO:
        signs = 1 - 2 * (np.arange(2**values.size)[:, None] >> np.arange(values.size) & 1)
        return float(np.mean(np.abs(signs @ sizes) >= least))
    rows = max(1, CELLS_AT_ONCE // values.size)
    beyond = 0
    for row in range(0, permutations, rows):
        signs = rng.choice([-1.0, 1.0], (min(rows, permutations - row), values.size))
        beyond += int(np.sum(np.abs(signs @ sizes) >= least))
    return (beyond + 1) / (permutations + 1)


def _finite(differences: ArrayLike) -> NDArray[np.float64]:
    values = np.asarray(differences, dtype=np.float64).ravel()
    if not np.isfinite(values).all():
        raise ValueError("Every difference has to be a finite number.")
    return values
