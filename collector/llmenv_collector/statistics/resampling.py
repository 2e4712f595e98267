"""Draws of a side's machines, of their runs and of the runs' trials.

The median of k values drawn with replacement from k ordered ones needs no k draws:
it is the value whose index is a quantile drawn from the beta distribution of the
uniform order statistic (David and Nagaraja, Order Statistics, 3rd ed. 2003, sections
2.1 and 2.5).  So a resample costs one draw a run, however many trials it took.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from llmenv_collector.statistics.nested import Nested

CELLS_AT_ONCE = 1 << 20
"""Bounds the memory of a resample, not its result's distribution."""


def machine_draws(side: Nested, machines: NDArray[np.int64], *, rng: Generator) -> NDArray[np.float64]:
    """That machine's value with runs and trials drawn anew, for each index in `machines`.

    `machines` and what is returned have shape (resamples, n), the latter in the unit of the side's values.
    """
    rows = max(1, CELLS_AT_ONCE // (machines.shape[1] * int(side.run_counts.max())))
    parts = [
        _machine_draws(side, machines[row : row + rows], rng=rng) for row in range(0, len(machines), rows)
    ]
    return np.concatenate(parts)


def _machine_draws(side: Nested, machines: NDArray[np.int64], *, rng: Generator) -> NDArray[np.float64]:
    counts = side.run_counts[machines]
    first_run = (np.cumsum(side.run_counts) - side.run_counts)[machines]
    wide = int(counts.max())
    runs = first_run[..., None] + (rng.random((*machines.shape, wide)) * counts[..., None]).astype(np.int64)
    drawn = _run_draws(side, runs, rng=rng)
    drawn[np.arange(wide) >= counts[..., None]] = np.inf
    drawn.sort(axis=-1)
    lower = np.take_along_axis(drawn, ((counts - 1) // 2)[..., None], -1)[..., 0]
    upper = np.take_along_axis(drawn, (counts // 2)[..., None], -1)[..., 0]
    middle: NDArray[np.float64] = (lower + upper) / 2
    return middle


def _run_draws(side: Nested, runs: NDArray[np.int64], *, rng: Generator) -> NDArray[np.float64]:
    """The median of each run's trials drawn with replacement, in the shape of `runs`."""
    counts = side.trial_counts[runs]
    start = (np.cumsum(side.trial_counts) - side.trial_counts)[runs]
    if side.trial_counts.max() == 1:
        single: NDArray[np.float64] = side.values[start]
        return single
    rank = (counts + 1) // 2
    quantile = rng.beta(rank, counts - rank + 1)
    above = 1 - (1 - quantile) * rng.random(counts.shape) ** (1 / np.maximum(counts - rank, 1))
    above = np.where(counts % 2 == 1, quantile, above)
    lower = side.values[start + np.minimum((quantile * counts).astype(np.int64), counts - 1)]
    upper = side.values[start + np.minimum((above * counts).astype(np.int64), counts - 1)]
    middle: NDArray[np.float64] = (lower + upper) / 2
    return middle
