"""Since when is a series different: confirmed changes, and suspected ones at its end.

Hierarchical bisection as in Matteson and James (2014, section 3.1, cited in `energy`): the
strongest point of a part splits it if it is significant, by the energy statistic and for its
level (`self_normalised`), and both parts are searched in turn.  Where none is, windows of
four times the least number of points are tested as well, Bonferroni over them, both together
at the level of the part.  Points found early were placed while later ones were not known, so
each is then placed and tested again between its neighbours, and dropped where the parts
beside it no longer differ.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.correlation import neighbour_correlation
from llmenv_collector.statistics.energy import strongest, strongest_p
from llmenv_collector.statistics.self_normalised import level_change_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import ArrayLike, NDArray

MIN_POINTS = 10
LEVEL = 0.05
PERMUTATIONS = 199
ROUNDS = 5
YOUNGEST = 3
"""Fewest values after a suspected change."""
WHOLE_SHARE = 0.85
"""Of the level of a part goes to its split in two, the rest to its windows."""
WINDOW = 4
"""Times the least number of points."""

Split = tuple[int, float]
"""Index and p."""


@dataclass(frozen=True)
class ChangePoint:
    """`index`: the first value of the new level.  `before`, `after`: medians of the parts beside it."""

    index: int
    p_value: float
    before: float
    after: float


@dataclass(frozen=True)
class Suspicion:
    """A change too young to be confirmed: `points` values lie after it."""

    index: int
    points: int
    p_value: float
    before: float
    after: float


@dataclass(frozen=True)
class Search:
    """How a series is searched."""

    rng: Generator
    min_points: int
    level: float
    permutations: int

    def split(
        self, part: NDArray[np.float64], level: float, correlation: float | None = None
    ) -> Split | None:
        """The significant point of a part and its p, if there is one."""
        points = np.arange(self.min_points, len(part) - self.min_points + 1)
        return self.test(part, points, level, correlation) if points.size else None

    def test(
        self, part: NDArray[np.float64], points: NDArray[np.int64], level: float, correlation: float | None
    ) -> Split | None:
        """The strongest of `points` and its p, the larger of two, if it is significant."""
        point, observed = strongest(part, points)
        if observed <= 0:
            return None
        if correlation is None:
            correlation = neighbour_correlation(part, [point])
        draws = self.draws(level)
        # This one takes less time, and is seldom significant where nothing changed.
        of_level = level_change_p(part, points, correlation=correlation, rng=self.rng, draws=draws)
        if of_level > level:
            return None
        of_energy = self.energy_p(part, points, point, observed, correlation=correlation, draws=draws)
        p_value = max(of_level, of_energy)
        return (point, p_value) if p_value <= level else None

    def suspect(self, part: NDArray[np.float64], points: NDArray[np.int64]) -> Split | None:
        """The strongest of `points` near the end and its p: so few ranks say nothing of a level."""
        point, observed = strongest(part, points)
        if observed <= 0:
            return None
        correlation = neighbour_correlation(part, [point])
        draws = self.draws(self.level)
        p_value = self.energy_p(part, points, point, observed, correlation=correlation, draws=draws)
        return (point, p_value) if p_value <= self.level else None

    def draws(self, level: float) -> int:
        return max(self.permutations, math.ceil(1 / level))

    def energy_p(
        self,
        part: NDArray[np.float64],
        points: NDArray[np.int64],
        point: int,
        observed: float,
        *,
        correlation: float,
        draws: int,
    ) -> float:
        return strongest_p(
            part,
            points,
            point=point,
            observed=observed,
            correlation=correlation,
            rng=self.rng,
            permutations=draws,
        )

    def split_in_windows(self, part: NDArray[np.float64], correlation: float | None = None) -> Split | None:
        """The most significant point of windows that are short enough for one change, or none.

        A change and its reversal hide each other from a split in two.
        """
        size = WINDOW * self.min_points
        if len(part) <= size:
            return None
        # The newest values lie in a window too, however many they are.
        starts = sorted({*range(0, len(part) - size + 1, size // 2), len(part) - size})
        level = (1 - WHOLE_SHARE) * self.level / len(starts)
        found = [(start, self.split(part[start : start + size], level, correlation)) for start in starts]
        splits = [(start + split[0], split[1]) for start, split in found if split]
        return min(splits, key=lambda split: split[1], default=None)

    def search(self, values: NDArray[np.float64]) -> list[Split]:
        """Every point with its p: found, placed again, and what lies between them searched once more."""
        found = self.place(values, self.bisect(values, 0, len(values)))
        for _ in range(ROUNDS if found else 0):
            points = [index for index, _ in found]
            parts = itertools.pairwise([0, *points, len(values)])
            between = [point for start, end in parts for point in self.bisect(values, start, end)]
            # A point that costs another one its place is none more.
            more = self.place(values, sorted({*points, *between})) if between else []
            if len(more) <= len(found):
                break
            found = more
        return found[:-1] if found and self.is_young(values, found) else found

    def place(self, values: NDArray[np.float64], points: list[int]) -> list[Split]:
        """Placed between one another until each stays where it is."""
        placed: list[Split] = []
        for _ in range(ROUNDS if points else 0):
            placed = self.refine(values, points)
            before, points = points, [index for index, _ in placed]
            if points in ([], before):
                break
        return placed

    def is_young(self, values: NDArray[np.float64], found: list[Split]) -> bool:
        """Whether the last change is rather one with too few values after it, placed as late as allowed."""
        part = values[found[-2][0] if len(found) > 1 else 0 :]
        return _strongest_from(part, self.min_points) > len(part) - self.min_points

    def bisect(self, values: NDArray[np.float64], start: int, end: int) -> list[int]:
        part = values[start:end]
        found = self.split(part, WHOLE_SHARE * self.level) or self.split_in_windows(part)
        if found is None:
            return []
        middle = start + found[0]
        return [*self.bisect(values, start, middle), middle, *self.bisect(values, middle, end)]

    def refine(self, values: NDArray[np.float64], points: list[int]) -> list[Split]:
        """Each point placed and tested between its neighbours, and left out if no more significant."""
        correlation = neighbour_correlation(values, points)
        refined: list[Split] = []
        for after in [*points[1:], len(values)]:
            start = refined[-1][0] if refined else 0
            part = values[start:after]
            found = self.split(part, self.level, correlation) or self.split_in_windows(part, correlation)
            if found:
                refined.append((start + found[0], found[1]))
        return refined


def _strongest_from(part: NDArray[np.float64], first: int) -> int:
    """The strongest point, however few values lie after it."""
    return strongest(part, np.arange(first, len(part) - 1))[0]


def change_points(
    values: ArrayLike,
    *,
    rng: Generator,
    min_points: int = MIN_POINTS,
    level: float = LEVEL,
    permutations: int = PERMUTATIONS,
) -> list[ChangePoint]:
    """Confirmed changes of a series, shape (n,), any unit, in the order of time.

    Each side of a change has at least `min_points` values.  `level` bounds, for each part that
    is searched, the chance to split it although nothing changed.  Time and memory grow with n^2.
    ValueError: a value that is not finite, `min_points` below 2, or a level that the number of
    permutations cannot reach.
    """
    series = _series(values, min_points=min_points, level=level, permutations=permutations)
    search = Search(rng, min_points, level, permutations)
    return _described(series, search.search(series))


def update(
    previous: Sequence[ChangePoint],
    values: ArrayLike,
    *,
    rng: Generator,
    min_points: int = MIN_POINTS,
    level: float = LEVEL,
    permutations: int = PERMUTATIONS,
) -> list[ChangePoint]:
    """The changes of a series that has grown since `previous` were found in its beginning.

    Only the part from the last confirmed change on is searched; earlier changes keep their place
    and p.  Searching after each new value gives chance as many opportunities: a longer step between
    updates keeps false changes rarer.  Errors as for `change_points`, and ValueError where the
    series is shorter than its changes.
    """
    series = _series(values, min_points=min_points, level=level, permutations=permutations)
    start = previous[-1].index if previous else 0
    if start > len(series):
        raise ValueError("A series cannot be shorter than where it changed.")
    found = change_points(
        series[start:], rng=rng, min_points=min_points, level=level, permutations=permutations
    )
    known = [(point.index, point.p_value) for point in previous]
    return _described(series, known + [(start + point.index, point.p_value) for point in found])


def suspicions(
    values: ArrayLike,
    *,
    rng: Generator,
    min_points: int = YOUNGEST,
    confirmed_points: int = MIN_POINTS,
    level: float = LEVEL,
    permutations: int = PERMUTATIONS,
) -> list[Suspicion]:
    """The change suspected among the last values of a series in which nothing else changed, or none.

    Hand in the part since the last confirmed change.  A suspicion has at least `min_points` values
    after it and fewer than `confirmed_points`, which would confirm it or not, and at least
    `confirmed_points` before it; where even fewer values differ more,
    it is too early.  Errors as for `change_points`.
    """
    series = _series(values, min_points=min_points, level=level, permutations=permutations)
    first = max(confirmed_points, len(series) - confirmed_points + 1)
    points = np.arange(first, len(series) - min_points + 1)
    found = Search(rng, min_points, level, permutations).suspect(series, points) if points.size else None
    if found is None or _strongest_from(series, first) > found[0]:
        return []
    index, p_value = found
    before, after = float(np.median(series[:index])), float(np.median(series[index:]))
    return [Suspicion(index, len(series) - index, p_value, before, after)]


def _described(series: NDArray[np.float64], points: Sequence[Split]) -> list[ChangePoint]:
    medians = [
        float(np.median(part)) for part in np.split(series, [index for index, _ in points]) if part.size
    ]
    return [
        ChangePoint(index, p_value, before, after)
        for (index, p_value), before, after in zip(points, medians, medians[1:], strict=False)
    ]


def _series(values: ArrayLike, *, min_points: int, level: float, permutations: int) -> NDArray[np.float64]:
    series = np.asarray(values, dtype=np.float64).ravel()
    if not np.isfinite(series).all():
        raise ValueError("Every value of a series has to be a finite number.")
    if min_points < 2:
        raise ValueError("A side of a change needs two values.")
    if level * (permutations + 1) < 1:
        raise ValueError(f"{permutations} permutations cannot reach a level of {level}.")
    return series
