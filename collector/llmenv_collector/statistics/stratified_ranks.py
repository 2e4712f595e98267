"""Do two groups differ, judged by ranks within strata: exact for few values, fast for many.

Wilcoxon's rank sum (Biometrics Bulletin 1, 1945) in every stratum, added up; values of
different strata, such as chips or machines, are never ranked together.  Up to
EXACT_UP_TO values a stratum and EXACT_IN_ALL together, the distribution over all
arrangements of the ranks at hand is counted, ties included (Hollander, Wolfe and
Chicken, Nonparametric Statistical Methods, 3rd ed. 2014, section 4.1), strata by
convolution.  Beyond, strata are weighted by 1 / (n + 1) (van Elteren, Bulletin of the
International Statistical Institute 37, 1960, 351-361) and the sum is taken as normal,
its variance corrected for ties, without continuity correction.

Ranks have no least p but that of the arrangements, so what Benjamini-Hochberg can
find is not limited by a number of permutations.
"""

from __future__ import annotations

import functools
import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.ranks import average_ranks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

EXACT_UP_TO = 30
EXACT_IN_ALL = 90
NEARLY = 1e-9
"""Sums this near to the one at hand, relative to it, count as equal."""


def stratified_rank_sum_p(strata: Sequence[tuple[ArrayLike, ArrayLike]]) -> float:
    """Two-sided p that candidate and baseline do not differ, for strata of (candidate, baseline).

    Each array has shape (n,), in one unit a stratum.  Strata that lack a side say nothing and
    are left out; none left gives 1.  ValueError: a value that is not finite.
    """
    full = [
        (_scores(candidate, baseline), np.size(candidate))
        for candidate, baseline in strata
        if np.size(candidate) and np.size(baseline)
    ]
    if not full:
        return 1.0
    sizes = [scores.size for scores, _ in full]
    if max(sizes) <= EXACT_UP_TO and sum(sizes) <= EXACT_IN_ALL:
        return _exact_p(full)
    return _normal_p(full)


def _scores(candidate: ArrayLike, baseline: ArrayLike) -> NDArray[np.int64]:
    """Twice the ranks less their mean, so whole numbers that add up to 0: the candidate's first."""
    values = np.concatenate([np.asarray(side, dtype=np.float64).ravel() for side in (candidate, baseline)])
    if not np.isfinite(values).all():
        raise ValueError("Every value has to be a finite number.")
    return np.rint(2 * average_ranks(values)).astype(np.int64) - (values.size + 1)


def _exact_p(strata: Sequence[tuple[NDArray[np.int64], int]]) -> float:
    likelihoods = functools.reduce(np.convolve, [_distribution(scores, count) for scores, count in strata])
    middle = len(likelihoods) // 2
    observed = abs(sum(int(scores[:count].sum()) for scores, count in strata))
    if observed == 0:
        return 1.0
    return min(
        1.0, float(likelihoods[: middle - observed + 1].sum() + likelihoods[middle + observed :].sum())
    )


def _distribution(scores: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Of the sum of `count` of the scores, from -reach to reach."""
    taken = min(count, scores.size - count)  # the others' sum is this one's negative
    reach = int(np.sort(np.abs(scores))[::-1].sum())
    ways = np.zeros((taken + 1, 2 * reach + 1))
    ways[0, reach] = 1.0
    for score in scores:
        ways[1:] += np.roll(ways[:-1], score, axis=1)
    chosen: NDArray[np.float64] = ways[taken] / ways[taken].sum()
    return chosen if taken == count else chosen[::-1]


def _normal_p(strata: Sequence[tuple[NDArray[np.int64], int]]) -> float:
    total = variance = 0.0
    for scores, count in strata:
        n = scores.size
        weight = 1 / (n + 1)
        total += weight * float(scores[:count].sum())
        spread = float(np.sum(scores.astype(np.float64) ** 2)) / (n - 1)
        variance += weight**2 * spread * count * (n - count) / n
    if variance <= NEARLY:
        return 1.0
    return min(1.0, 2 * NormalDist().cdf(-abs(total) / math.sqrt(variance)))
