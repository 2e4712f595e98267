"""When did each series of a history change: pure, and run in the process of the statistics.

Change points are those of `statistics.change_points`.  Their p cannot be smaller than the
number of permutations allows, which would hide every change among a fleet's series, and is too
small where neighbouring results are more alike than so few of them show.  So a second p is
taken of the level alone: Student's t of the medians of blocks of at least BLOCK neighbours on
both sides, times the points that might have been chosen (Bonferroni).  It takes the place of a p
at the floor of the permutations, and of any p that is smaller than itself.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.beta import student_p
from llmenv_collector.statistics.change_points import (
    MIN_POINTS,
    PERMUTATIONS,
    change_points,
    suspicions,
)
from llmenv_collector.statistics.correlation import block_length, neighbour_correlation
from llmenv_collector.statistics.grouped import paired_results_ratio_interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

FLOOR = 1.5 / (PERMUTATIONS + 1)
"""A p below has not been exceeded by any permutation."""
BLOCK = 5
"""Results: of the simulated noise (docs/simulation.md) the medians of so many are hardly alike any more."""
RESAMPLES = 500
CONFIDENCE = 0.95
MARGIN = 2
"""Results before, and one less after, between which what changed is looked for: points are found so well."""


@dataclass(frozen=True, eq=False)
class SeriesOfHistory:
    """Positive values of one measurement, shape (n,), in the order of time."""

    name: str
    """What is drawn follows from it, so that the same values have the same changes."""
    values: NDArray[np.float64]

    @property
    def is_long_enough(self) -> bool:
        return len(self.values) > MIN_POINTS


@dataclass(frozen=True)
class Change:
    """`index`: the first value after it; `first`, `last`: values between which it lies."""

    index: int
    first: int
    last: int
    is_suspected: bool
    points: int
    before: float
    after: float
    low: float
    high: float
    p_value: float


def search_all(series: Sequence[SeriesOfHistory]) -> list[list[Change]]:
    """The changes of each, in the order of time."""
    return [list(search(one)) for one in series]


def search(series: SeriesOfHistory) -> Iterator[Change]:
    if not series.is_long_enough:
        return
    values = np.log(series.values)
    rng = np.random.default_rng(zlib.crc32(series.name.encode()))
    confirmed = change_points(values, rng=rng)
    edges = [0, *(point.index for point in confirmed), len(values)]
    for number, point in enumerate(confirmed):
        start, end = edges[number], edges[number + 2]
        p_value = refined_p(values[start:end], point.index - start, point.p_value)
        yield described(series, start, point.index, end, p_value=p_value, is_suspected=False, rng=rng)
    start = edges[-2]
    for young in suspicions(values[start:], rng=rng):
        yield described(
            series,
            start,
            start + young.index,
            len(values),
            p_value=young.p_value,
            is_suspected=True,
            rng=rng,
        )


def refined_p(values: NDArray[np.float64], point: int, p_value: float) -> float:
    """See above; `values` is what lies between the neighbouring changes, `point` the index in it."""
    of_level = level_p(values, point)
    return of_level if p_value <= FLOOR else max(p_value, of_level)


def level_p(values: NDArray[np.float64], point: int) -> float:
    """That the level is the same on both sides of the best of all points."""
    block = max(BLOCK, block_length(neighbour_correlation(values, [point]), len(values)))
    sides = [block_medians(side, block) for side in (values[:point], values[point:])]
    degrees = sum(map(len, sides)) - 2
    if degrees < 1:
        return 1.0
    squares = sum(float(np.sum((side - side.mean()) ** 2)) for side in sides)
    error = math.sqrt(squares / degrees * sum(1 / len(side) for side in sides))
    distance = abs(float(sides[0].mean() - sides[1].mean()))
    t = distance / error if error else math.inf if distance else 0.0
    candidates = max(1, len(values) - 2 * MIN_POINTS + 1)
    return min(1.0, candidates * student_p(t, degrees))


def block_medians(values: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    whole = max(1, len(values) // block)
    return np.array([np.median(part) for part in np.array_split(values, whole)])


def described(
    series: SeriesOfHistory,
    start: int,
    index: int,
    end: int,
    *,
    p_value: float,
    is_suspected: bool,
    rng: Generator,
) -> Change:
    before, after = series.values[start:index], series.values[index:end]
    ratio = paired_results_ratio_interval(
        [(np.log(after), np.log(before))], rng=rng, confidence=CONFIDENCE, resamples=RESAMPLES
    )
    return Change(
        index=index,
        first=max(start, index - MARGIN),
        last=min(end - 1, index + MARGIN - 1),
        is_suspected=is_suspected,
        points=end - index,
        before=float(np.median(before)),
        after=float(np.median(after)),
        low=ratio.low,
        high=ratio.high,
        p_value=p_value,
    )
