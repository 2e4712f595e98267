"""How far a side's value strays when machines, runs and trials are drawn anew.

It is corrected for how few machines there are.  The reasons and the sources are those of `bootstrap`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Literal

import numpy as np

from llmenv_collector.statistics.beta import student_quantile
from llmenv_collector.statistics.resampling import machine_draws

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from llmenv_collector.statistics.nested import Nested

About = Literal["fleet", "machines"]


@dataclass(frozen=True)
class Units:
    """How what is resampled, machines or runs, differs within groups that share a value, on the log scale.

    `squares`: sum of squared deviations from the groups' means.  `degrees`: of freedom.
    """

    squares: float
    degrees: int

    @classmethod
    def of(cls, sides: Sequence[Nested], *, about: About) -> Units:
        return cls.of_groups([group for side in sides for group in _groups(side, about=about)])

    @classmethod
    def of_groups(cls, groups: Sequence[NDArray[np.float64]]) -> Units:
        squares = sum(float(np.sum((group - group.mean()) ** 2)) for group in groups)
        return cls(squares, sum(len(group) - 1 for group in groups))

    @property
    def spread(self) -> float:
        """Standard deviation between the units of a group, pooled over the groups."""
        return math.sqrt(self.squares / self.degrees) if self.degrees else math.inf

    def widening(self, confidence: float) -> float:
        """Student's over the normal quantile."""
        probability = (1 + confidence) / 2
        return student_quantile(probability, self.degrees) / NormalDist().inv_cdf(probability)


def _groups(side: Nested, *, about: About) -> Sequence[NDArray[np.float64]]:
    if about == "fleet":
        return [np.log(side.machine_values())]
    return np.split(np.log(side.run_values()), np.cumsum(side.run_counts)[:-1])


def deviations_of(
    side: Nested, units: Units, *, rng: Generator, resamples: int, about: About
) -> NDArray[np.float64]:
    """Of the logarithm of the side's value, shape (resamples,)."""
    centre = math.log(side.value())
    if about == "machines":
        drawn = machines_as_they_are(side, units, rng=rng, resamples=resamples)
        strayed: NDArray[np.float64] = np.log(np.median(np.exp(drawn), axis=1)) - centre
        return strayed
    machines = rng.integers(side.machines, size=(resamples, side.machines))
    drawn = np.log(np.median(machine_draws(side, machines, rng=rng), axis=1))
    return _corrected(drawn - centre, np.array(side.machines), units, rng=rng)


def machines_as_they_are(
    side: Nested, units: Units, *, rng: Generator, resamples: int
) -> NDArray[np.float64]:
    """Logarithms of the machines' values, runs and trials drawn anew, shape (resamples, machines)."""
    machines = np.broadcast_to(np.arange(side.machines), (resamples, side.machines))
    centre = np.log(side.machine_values())
    drawn = np.log(machine_draws(side, machines, rng=rng))
    return centre + _corrected(drawn - centre, side.run_counts, units, rng=rng)


def _corrected(
    deviations: NDArray[np.float64], counts: NDArray[np.int64], units: Units, *, rng: Generator
) -> NDArray[np.float64]:
    """Widened by sqrt(n / (n - 1)) where n units were resampled; a single one varies as the others do."""
    single = counts == 1
    factor = np.where(single, 1.0, np.sqrt(counts / np.maximum(counts - 1, 1)))
    widened: NDArray[np.float64] = deviations * factor
    if single.any():
        widened = widened + single * units.spread * rng.standard_normal(deviations.shape)
    return widened
