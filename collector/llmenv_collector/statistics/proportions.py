"""Shares: how often a check fails, and whether two shares differ.

All three are exact: they hold for the few runs that a version has on its first day.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.beta import beta_quantile
from llmenv_collector.statistics.estimate import Estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

NEARLY = 1 + 1e-7
"""Tables whose probabilities differ by less count as equally likely, as in R's fisher.test."""


def clopper_pearson(successes: int, trials: int, confidence: float = 0.95) -> Estimate:
    """The share `successes` / `trials` and its exact interval, without unit.

    Clopper and Pearson, Biometrika 26 (1934) 404-413, as quantiles of the beta distribution
    (Brown, Cai and DasGupta, Statistical Science 16, 2001, section 4.2.1).  Covers at least
    `confidence`, whatever the share is.  ValueError: not 0 <= successes <= trials, 1 <= trials.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} of {trials} is no share.")
    tail = (1 - confidence) / 2
    low = beta_quantile(tail, successes, trials - successes + 1) if successes else 0.0
    high = beta_quantile(1 - tail, successes + 1, trials - successes) if successes < trials else 1.0
    return Estimate(successes / trials, low, high)


def fisher_exact_p(table: ArrayLike) -> float:
    """Two-sided p that both rows of counts, shape (2, 2), have the same share in the first column.

    Fisher, Statistical Methods for Research Workers (5th ed. 1934), section 21.02: the tables
    with the margins at hand that are at most as likely as the one at hand.
    ValueError: no 2 x 2 table of counts.
    """
    return stratified_exact_p([table])


def stratified_exact_p(tables: Sequence[ArrayLike]) -> float:
    """Two-sided p that in no stratum the rows' shares differ, for strata of counts, each shape (2, 2).

    The exact counterpart of Mantel and Haenszel (Journal of the National Cancer Institute 22,
    1959): given all margins, the first cells are independent and hypergeometric; p adds up the
    totals of first cells at most as likely as the one at hand (Agresti, Categorical Data
    Analysis, 3rd ed. 2013, section 7.3.5).  Counts of different strata, such as chips, never meet,
    so that strata of different shares cannot make a difference (Simpson).  No table gives 1.
    ValueError: no 2 x 2 table of counts.
    """
    counts = [_counts(table) for table in tables]
    if not counts:
        return 1.0
    likelihoods = functools.reduce(np.convolve, [_hypergeometric(table) for table in counts])
    lowest = sum(max(0, int(table[0].sum() + table[:, 0].sum() - table.sum())) for table in counts)
    observed = likelihoods[sum(int(table[0, 0]) for table in counts) - lowest]
    return min(1.0, float(likelihoods[likelihoods <= observed * NEARLY].sum()))


def _counts(table: ArrayLike) -> NDArray[np.int64]:
    given = np.asarray(table, dtype=np.float64)
    counts = given.astype(np.int64)
    if given.shape != (2, 2) or (counts != given).any() or (counts < 0).any():
        raise ValueError("A table has two rows of two counts.")
    return counts


def _hypergeometric(table: NDArray[np.int64]) -> NDArray[np.float64]:
    """Probability of each possible first cell, in ascending order, given the margins."""
    row, column, total = int(table[0].sum()), int(table[:, 0].sum()), int(table.sum())
    possible = range(max(0, row + column - total), min(row, column) + 1)
    logs = np.array(
        [_log_choose(column, cell) + _log_choose(total - column, row - cell) for cell in possible]
    )
    relative = np.exp(logs - _log_choose(total, row))
    likelihoods: NDArray[np.float64] = relative / relative.sum()
    return likelihoods


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
