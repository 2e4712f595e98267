"""Which machine differs from the others of its cohort.

Each machine is compared with the others, left out of what it is compared with:
Student's prediction interval of one more value (Hahn and Meeker, Statistical Intervals,
1991, section 4.7) on logarithms, around the others' median, whose variance is pi / 2 of
the mean's.  Two outliers would hide each other in the others' spread, so those that
stand out most are set aside first and judged from the innermost outwards, as Rosner's
generalised test does (Technometrics 25, 1983, 165-172).

The spread is the standard deviation of the machines that are left, not the median
absolute deviation: of seven values, a test on the latter finds a shift of four standard
deviations in a sixth of all cohorts at the level at which this one finds it in half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.beta import student_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

FEWEST_OTHERS = 4
LARGEST_SHARE = 0.25
"""More outliers than this share of a cohort are no outliers but another cohort."""
SINGLE_SHARE = 0.75
MEDIAN_VARIANCE = math.pi / 2
"""Of the median of many normal values, relative to their mean's."""
NORMAL_DEVIATION = 1.4826
"""Standard deviations in a median absolute deviation of normal values, inverted."""


@dataclass(frozen=True)
class Outlier:
    """`index` of the machine as handed in, `ratio` of its value to the others' median, without unit.

    `z`: deviation of the logarithm in robust standard deviations (of the others' median absolute
    deviation), to describe, not to judge.  `p_value`: of a cohort without outlier having a machine
    that deviates as much (Bonferroni over its machines and over how many
    outliers there may be).
    """

    index: int
    ratio: float
    z: float
    p_value: float


def outliers(
    values_by_machine: Sequence[ArrayLike], *, level: float = 0.05, minimum_effect: float = 0.03
) -> list[Outlier]:
    """Machines that deviate from the others of their cohort, the most extreme first.

    `values_by_machine`: for each machine its runs' values, shape (runs,) or one number, positive,
    all of one unit.  A machine with fewer runs than the others is allowed the noise of so few.
    `level` bounds the share of cohorts without outlier in which one is found; 1 with
    `minimum_effect` 0 lists as many as could be outliers.  Fewer than FEWEST_OTHERS others: none is
    found.  ValueError: a machine without value or a value that is not positive and finite.
    """
    return cohort_outliers(Cohort.of(values_by_machine), level=level, minimum_effect=minimum_effect)


@dataclass(frozen=True, eq=False)
class Cohort:
    """What is known of each machine's runs, as logarithms, each of shape (machines,).

    `middles`: medians.  `squares`: sums of squared deviations from the runs' mean.  `runs`: counts.
    """

    middles: NDArray[np.float64]
    squares: NDArray[np.float64]
    runs: NDArray[np.int64]

    @classmethod
    def of(cls, values_by_machine: Sequence[ArrayLike]) -> Cohort:
        """ValueError: a machine without value or a value that is not positive and finite."""
        machines = [_logarithms(values) for values in values_by_machine]
        return cls(
            np.array([np.median(machine) for machine in machines]),
            np.array([np.sum((machine - machine.mean()) ** 2) for machine in machines]),
            np.array([machine.size for machine in machines], dtype=np.int64),
        )

    def noise(self) -> NDArray[np.float64]:
        """Variance of each machine's median by its runs, pooled over machines; 0 where none has two."""
        degrees = int(self.runs.sum()) - len(self.runs)
        variance = float(self.squares.sum()) / degrees if degrees else 0.0
        return variance * MEDIAN_VARIANCE / self.runs


def cohort_outliers(cohort: Cohort, *, level: float, minimum_effect: float) -> list[Outlier]:
    """As `outliers`, of what is known of the runs already."""
    values, machines = cohort.middles, len(cohort.middles)
    most = min(math.ceil(LARGEST_SHARE * machines), machines - FEWEST_OTHERS)
    if most < 1:
        return []
    noise = cohort.noise()
    suspects = _most_extreme(values, most)
    is_other = np.ones(machines, dtype=bool)
    is_other[suspects] = False
    for count in range(most, 0, -1):
        others = _Others.of(values[is_other], noise[is_other])
        tests = (len(others.values) + 1) * _steps(count, most)
        suspect = suspects[count - 1]
        if others.p_value(values[suspect], noise[suspect], tests) <= level:
            found = [others.compared(one, values[one], noise[one], tests) for one in suspects[:count]]
            return [each for each in found if abs(math.log(each.ratio)) >= math.log1p(minimum_effect)]
        is_other[suspect] = True
    return []


def _steps(count: int, most: int) -> float:
    """By what a p is multiplied: a single outlier, the likeliest, has SINGLE_SHARE of the level."""
    if most == 1:
        return 1.0
    return 1 / SINGLE_SHARE if count == 1 else (most - 1) / (1 - SINGLE_SHARE)


def _most_extreme(values: NDArray[np.float64], count: int) -> list[int]:
    """Indexes of the machines that are removed one after the other, each the farthest from what is left."""
    order = np.argsort(values, kind="stable").tolist()
    ordered = values[order].tolist()
    low, high = 0, len(ordered) - 1
    removed = []
    for _ in range(count):
        middle = (ordered[(low + high) // 2] + ordered[(low + high + 1) // 2]) / 2
        below, above = middle - ordered[low], ordered[high] - middle
        if below > above or (below == above and order[low] < order[high]):
            removed.append(order[low])
            low += 1
        else:
            removed.append(order[high])
            high -= 1
    return removed


@dataclass(frozen=True, eq=False)
class _Others:
    """The machines that one is compared with: logarithms in ascending order, and what they come to."""

    values: NDArray[np.float64]
    middle: float
    variance: float
    noise: float

    @classmethod
    def of(cls, values: NDArray[np.float64], noise: NDArray[np.float64]) -> _Others:
        ordered = np.sort(values)
        count = len(ordered)
        deviations = ordered - ordered.sum() / count
        return cls(
            ordered,
            float(ordered[(count - 1) // 2] + ordered[count // 2]) / 2,
            float(deviations @ deviations) / (count - 1),
            float(noise.sum()) / count,
        )

    def p_value(self, value: float, noise: float, tests: float) -> float:
        count = len(self.values)
        variance = self.variance * (1 + MEDIAN_VARIANCE / count) + max(0.0, float(noise) - self.noise)
        single = student_p(_over(float(value) - self.middle, math.sqrt(variance)), count - 1)
        return min(1.0, single * tests)

    def compared(self, index: int, value: float, noise: float, tests: float) -> Outlier:
        deviation = float(value) - self.middle
        robust = NORMAL_DEVIATION * float(np.median(np.abs(self.values - self.middle)))
        p_value = self.p_value(value, noise, tests)
        return Outlier(index, math.exp(deviation), _over(deviation, robust), p_value)


def _over(deviation: float, spread: float) -> float:
    return deviation / spread if spread else math.copysign(math.inf, deviation) if deviation else 0.0


def _logarithms(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size or not (np.isfinite(array) & (array > 0)).all():
        raise ValueError("A machine needs positive, finite values.")
    logarithms: NDArray[np.float64] = np.log(array)
    return logarithms
