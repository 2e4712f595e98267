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
    runs = [_logarithms(values) for values in values_by_machine]
    values = np.array([np.median(machine) for machine in runs])
    most = min(math.ceil(LARGEST_SHARE * len(runs)), len(runs) - FEWEST_OTHERS)
    if most < 1:
        return []
    noise = _run_variance(runs) * MEDIAN_VARIANCE / np.array([machine.size for machine in runs])
    suspects = _most_extreme(values, most)
    for count in range(most, 0, -1):
        others = np.setdiff1d(np.arange(len(runs)), suspects[:count])
        tests = (len(others) + 1) * _steps(count, most)
        if _compare(values, suspects[count - 1], others, noise, tests).p_value <= level:
            found = [_compare(values, suspect, others, noise, tests) for suspect in suspects[:count]]
            return [each for each in found if abs(math.log(each.ratio)) >= math.log1p(minimum_effect)]
    return []


def _steps(count: int, most: int) -> float:
    """By what a p is multiplied: a single outlier, the likeliest, has SINGLE_SHARE of the level."""
    if most == 1:
        return 1.0
    return 1 / SINGLE_SHARE if count == 1 else (most - 1) / (1 - SINGLE_SHARE)


def _most_extreme(values: NDArray[np.float64], count: int) -> list[int]:
    """Indexes of the machines that are removed one after the other, each the farthest from what is left."""
    left = list(range(len(values)))
    removed = []
    for _ in range(count):
        distances = np.abs(values[left] - np.median(values[left]))
        farthest = left[int(np.argmax(distances))]
        left.remove(farthest)
        removed.append(farthest)
    return removed


def _compare(
    values: NDArray[np.float64],
    suspect: int,
    others: NDArray[np.int64],
    noise: NDArray[np.float64],
    tests: float,
) -> Outlier:
    others_values = values[others]
    middle = float(np.median(others_values))
    deviation = float(values[suspect]) - middle
    more_noise = max(0.0, float(noise[suspect] - noise[others].mean()))
    variance = float(others_values.var(ddof=1)) * (1 + MEDIAN_VARIANCE / len(others)) + more_noise
    p_value = student_p(_over(deviation, math.sqrt(variance)), len(others) - 1)
    robust = NORMAL_DEVIATION * float(np.median(np.abs(others_values - middle)))
    return Outlier(suspect, math.exp(deviation), _over(deviation, robust), min(1.0, p_value * tests))


def _over(deviation: float, spread: float) -> float:
    return deviation / spread if spread else math.copysign(math.inf, deviation) if deviation else 0.0


def _run_variance(runs: Sequence[NDArray[np.float64]]) -> float:
    """Of the runs of a machine, pooled over machines; 0 where none has two."""
    squares = sum(float(np.sum((machine - machine.mean()) ** 2)) for machine in runs)
    degrees = sum(machine.size - 1 for machine in runs)
    return squares / degrees if degrees else 0.0


def _logarithms(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64).ravel()
    if not array.size or not (np.isfinite(array) & (array > 0)).all():
        raise ValueError("A machine needs positive, finite values.")
    logarithms: NDArray[np.float64] = np.log(array)
    return logarithms
