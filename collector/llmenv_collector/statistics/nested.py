"""One side of a comparison: machines that did runs that took trials.

Held flat: one array of all trials and how many belong to each run and machine, so
that a resample is a matter of indexes.  Trials, runs and machines are put in order
of their values, so that the order in which they were reported decides nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray


def middle_of_segments(ordered: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Medians of consecutive segments of `ordered`, each segment in ascending order and not empty."""
    starts = np.cumsum(counts) - counts
    middles: NDArray[np.float64] = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2
    return middles


@dataclass(frozen=True, eq=False)
class Nested:
    """Built by `Nested.of`.

    `values`: shape (trials,), any unit, ascending within each run.
    `trial_counts`: shape (runs,), trials of each run.
    `run_counts`: shape (machines,), runs of each machine.
    """

    values: NDArray[np.float64]
    trial_counts: NDArray[np.int64]
    run_counts: NDArray[np.int64]

    @classmethod
    def of(cls, machines: Sequence[Sequence[ArrayLike]]) -> Nested:
        """From machines of runs of trials.

        ValueError: a machine without a run, a run without a trial, no machine, or a trial that is not finite.
        """
        ordered = sorted(
            sorted(np.sort(np.asarray(run, float), None).tolist() for run in runs) for runs in machines
        )
        if not ordered or not all(ordered) or not all(all(runs) for runs in ordered):
            raise ValueError("A side needs a machine, each machine a run and each run a trial.")
        values = np.array([trial for runs in ordered for run in runs for trial in run], dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError("Every trial has to be a finite number.")
        trial_counts = np.array([len(run) for runs in ordered for run in runs], dtype=np.int64)
        return cls(values, trial_counts, np.array([len(runs) for runs in ordered], dtype=np.int64))

    @classmethod
    def joined(cls, sides: Sequence[Nested]) -> Nested:
        """The machines of several sides in the order given."""
        return cls(
            np.concatenate([side.values for side in sides]),
            np.concatenate([side.trial_counts for side in sides]),
            np.concatenate([side.run_counts for side in sides]),
        )

    @property
    def machines(self) -> int:
        return len(self.run_counts)

    @property
    def runs(self) -> int:
        return len(self.trial_counts)

    @property
    def trials(self) -> int:
        return len(self.values)

    def run_values(self) -> NDArray[np.float64]:
        """Median of the trials of each run, shape (runs,)."""
        return middle_of_segments(self.values, self.trial_counts)

    def machine_values(self) -> NDArray[np.float64]:
        """Median of the runs of each machine, shape (machines,)."""
        run_values = self.run_values()
        by_machine = np.lexsort((run_values, self.machine_of_run()))
        return middle_of_segments(run_values[by_machine], self.run_counts)

    def machine_of_run(self) -> NDArray[np.int64]:
        """Shape (runs,)."""
        return np.repeat(np.arange(self.machines), self.run_counts)

    def value(self) -> float:
        """Median over machines of the median over runs of the median of trials, in the unit of the trials."""
        return float(np.median(self.machine_values()))
