"""Do two groups differ, where labels may be exchanged only within strata.

Under the null hypothesis, which group a value of a stratum belongs to is arbitrary
(Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 3rd ed. 2005, section
3.7 for strata).  Values of different strata, such as chips, never meet: a stratum
contributes the difference of its two groups' mean or median logarithms, weighted by
a b / (a + b) for groups of a and b values (Cochran, Biometrics 10, 1954, section 4).

What may be exchanged has to be independent: hand in one value a machine, not trials.
"""

from __future__ import annotations

import functools
import itertools
import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import ArrayLike, NDArray

ENUMERATED_UP_TO = 20_000
CELLS_AT_ONCE = 1 << 20
NEARLY = 1e-9
"""Statistics this near, relative to the largest possible one, count as equal."""


def stratified_permutation_p(
    strata: Sequence[tuple[ArrayLike, ArrayLike]],
    *,
    rng: Generator,
    permutations: int = 1_999,
    refine_below: float = 0.1,
    refined: int = 49_999,
    statistic: Literal["mean", "median"] = "mean",
) -> float:
    """Two-sided p that candidate and baseline do not differ, for strata of (candidate, baseline).

    Each array has shape (n,) and positive values of one unit a stratum.  Where at most
    ENUMERATED_UP_TO arrangements exist, all are enumerated and p is exact.  Otherwise
    p = (b + 1) / (m + 1), for b of m drawn arrangements at least as extreme, which keeps its
    level at any m (Phipson and Smyth, Statistical Applications in Genetics and Molecular
    Biology 9, 2010, article 39).  A p below `refine_below` is thrown away and taken again from
    `refined` fresh arrangements, so that its least possible value does not bound what
    Benjamini-Hochberg can find.
    Strata that lack a side say nothing and are left out; none left gives 1.
    ValueError: a value that is not positive and finite.
    """
    full = [
        Stratum.of(*stratum, statistic=statistic)
        for stratum in strata
        if all(np.size(side) for side in stratum)
    ]
    # In an order of their own, so that the caller's order does not change what is drawn.
    full.sort(key=lambda stratum: stratum.values.tolist())
    if not full:
        return 1.0
    least = abs(sum(stratum.observed for stratum in full)) - NEARLY * sum(stratum.reach for stratum in full)
    if math.prod(stratum.arrangements for stratum in full) <= ENUMERATED_UP_TO:
        every = functools.reduce(np.add.outer, [stratum.enumerated() for stratum in full])
        return float(np.mean(np.abs(every) >= least))
    p_value = _drawn_p(full, least, rng=rng, permutations=permutations)
    if p_value < refine_below and refined > permutations:
        return _drawn_p(full, least, rng=rng, permutations=refined)
    return p_value


def _drawn_p(strata: Sequence[Stratum], least: float, *, rng: Generator, permutations: int) -> float:
    rows = max(1, CELLS_AT_ONCE // max(stratum.values.size for stratum in strata))
    beyond = 0
    for row in range(0, permutations, rows):
        count = min(rows, permutations - row)
        beyond += int(np.sum(np.abs(sum(stratum.drawn(count, rng=rng) for stratum in strata)) >= least))
    return (beyond + 1) / (permutations + 1)


@dataclass(frozen=True)
class Stratum:
    """Logarithms of both groups in ascending order, and how many of them are the group that is drawn.

    The group that is drawn is the smaller one, `sign` says whether it is the candidate.
    """

    values: NDArray[np.float64]
    size: int
    sign: int
    observed: float
    statistic: Literal["mean", "median"]

    @classmethod
    def of(
        cls, candidate: ArrayLike, baseline: ArrayLike, *, statistic: Literal["mean", "median"]
    ) -> Stratum:
        sides = [_logarithms(candidate), _logarithms(baseline)]
        smaller, larger = sorted(sides, key=lambda side: (side.size, side.tolist()))
        sign = 1 if smaller is sides[0] else -1
        together = cls(np.sort(np.concatenate(sides)), smaller.size, sign, 0.0, statistic)
        observed = float(together.contrast(smaller[None], larger[None])[0])
        return replace(together, observed=observed)

    @property
    def arrangements(self) -> int:
        return math.comb(self.values.size, self.size)

    @property
    def reach(self) -> float:
        """No contrast is larger than this."""
        return self.weight * float(np.ptp(self.values))

    @property
    def weight(self) -> float:
        return self.size * (self.values.size - self.size) / self.values.size

    def contrast(self, smaller: NDArray[np.float64], larger: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted difference candidate - baseline of each row."""
        middle = np.mean if self.statistic == "mean" else np.median
        return np.asarray(self.sign * self.weight * (middle(smaller, axis=1) - middle(larger, axis=1)))

    def enumerated(self) -> NDArray[np.float64]:
        """Contrasts of all arrangements."""
        taken = np.array(list(itertools.combinations(range(self.values.size), self.size)))
        mask = np.zeros((len(taken), self.values.size), dtype=bool)
        mask[np.arange(len(taken))[:, None], taken] = True
        rows = np.broadcast_to(self.values, mask.shape)
        return self.contrast(rows[mask].reshape(len(taken), -1), rows[~mask].reshape(len(taken), -1))

    def drawn(self, count: int, *, rng: Generator) -> NDArray[np.float64]:
        """Contrasts of `count` arrangements drawn at random."""
        rows = rng.permuted(np.broadcast_to(self.values, (count, self.values.size)), axis=1)
        return self.contrast(rows[:, : self.size], rows[:, self.size :])


def _logarithms(values: ArrayLike) -> NDArray[np.float64]:
    array = np.sort(np.asarray(values, dtype=np.float64).ravel())
    if not (np.isfinite(array) & (array > 0)).all():
        raise ValueError("Only positive, finite values have a logarithm.")
    logarithms: NDArray[np.float64] = np.log(array)
    return logarithms
