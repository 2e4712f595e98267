"""Two sides of one series: the same machines where there are any, else the machines of one cohort.

Paired: each machine against itself, with all else equal.  Of many machines each is one
value, and what is said holds for the fleet (signed ranks of their log ratios).  Of few,
their results are ranked machine by machine, and what is said holds for these machines.
Otherwise machines are compared within strata: the same chip variant and the same other
versions.  Values of different strata never meet, so that a version that happens to run on
the faster chips is not called faster (Simpson).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.statistics.grouped import (
    median_ratio_interval,
    paired_results_ratio_interval,
    stratified_median_ratio_interval,
)
from llmenv_collector.statistics.paired import signed_rank_p
from llmenv_collector.statistics.stratified_ranks import stratified_rank_sum_p

if TYPE_CHECKING:
    from numpy.random import Generator
    from numpy.typing import NDArray

    from llmenv_collector.fleet_report.cells import Cells
    from llmenv_collector.statistics.estimate import Estimate

FLEET_FROM = 12
"""Paired machines from which on each is one value: fewer leave a signed rank no small p."""
PAIR_WORTH = 4
"""Machines without a pair that one pair is worth, since machines differ and one does not from itself."""
RESAMPLES = 500


@dataclass(frozen=True, eq=False)
class Sides:
    """Rows of cells of one series, and for each the stratum within which it may be compared."""

    baseline: NDArray[np.int64]
    candidate: NDArray[np.int64]
    strata: NDArray[np.int64]
    """Of every cell, shape (cells,)."""


@dataclass(frozen=True)
class Difference:
    """The candidate's over the baseline's median, and how it was come by."""

    ratio: Estimate
    p_value: float
    pairing: messages.Pairing.ValueType
    candidate_rows: NDArray[np.int64]
    baseline_rows: NDArray[np.int64]


def compare(cells: Cells, sides: Sides, *, rng: Generator, confidence: float = 0.95) -> Difference | None:
    """None where no stratum has both sides."""
    pairs = paired_rows(cells, sides)
    loose = unpaired(cells, sides, pairs)
    machines = len(np.unique(cells.machine_of[pairs[0]]))
    if machines and (machines >= FLEET_FROM or PAIR_WORTH * machines >= effective_machines(cells, loose)):
        return compare_pairs(cells, *pairs, rng=rng, confidence=confidence)
    return compare_cohorts(cells, loose, rng=rng, confidence=confidence)


def paired_rows(cells: Cells, sides: Sides) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cells (candidate, baseline) of one machine in one stratum, side by side."""
    width = int(sides.strata.max(initial=0)) + 1
    candidate, baseline = (
        cells.machine_of[rows] * width + sides.strata[rows] for rows in (sides.candidate, sides.baseline)
    )
    _, left, right = np.intersect1d(candidate, baseline, return_indices=True)
    return sides.candidate[left], sides.baseline[right]


def unpaired(cells: Cells, sides: Sides, pairs: tuple[NDArray[np.int64], NDArray[np.int64]]) -> Sides:
    """The same sides, a machine that is on both counted as candidate only, in strata that have both."""
    baseline = sides.baseline[~np.isin(cells.machine_of[sides.baseline], cells.machine_of[pairs[0]])]
    common = np.intersect1d(sides.strata[sides.candidate], sides.strata[baseline])
    return Sides(
        baseline[np.isin(sides.strata[baseline], common)],
        sides.candidate[np.isin(sides.strata[sides.candidate], common)],
        sides.strata,
    )


def effective_machines(cells: Cells, sides: Sides) -> float:
    """c b / (c + b) for c and b machines, summed over strata: what their comparison weighs."""
    total = 0.0
    for stratum in np.unique(sides.strata[sides.candidate]):
        candidate, baseline = (
            len(np.unique(cells.machine_of[rows[sides.strata[rows] == stratum]]))
            for rows in (sides.candidate, sides.baseline)
        )
        total += candidate * baseline / (candidate + baseline)
    return total


def compare_pairs(
    cells: Cells,
    candidate: NDArray[np.int64],
    baseline: NDArray[np.int64],
    *,
    rng: Generator,
    confidence: float = 0.95,
) -> Difference:
    ratios = np.log(cells.middles[candidate]) - np.log(cells.middles[baseline])
    by_machine = medians_by(cells.machine_of[candidate], ratios)
    if len(by_machine) >= FLEET_FROM:
        ratio, p_value = (
            median_ratio_interval(by_machine, confidence=confidence),
            signed_rank_p(by_machine),
        )
    else:
        runs = [
            (cells.values_of(one), cells.values_of(other))
            for one, other in zip(candidate, baseline, strict=True)
        ]
        p_value = stratified_rank_sum_p(runs)
        ratio = paired_results_ratio_interval(
            [(np.log(one), np.log(other)) for one, other in runs],
            rng=rng,
            confidence=confidence,
            resamples=RESAMPLES,
        )
    return Difference(ratio, p_value, messages.PAIRING_WITHIN_MACHINE, candidate, baseline)


def compare_cohorts(
    cells: Cells, sides: Sides, *, rng: Generator, confidence: float = 0.95
) -> Difference | None:
    """Each machine is one value a stratum."""
    if not sides.candidate.size or not sides.baseline.size:
        return None
    strata = []
    for stratum in np.unique(sides.strata[sides.candidate]):
        both = [rows[sides.strata[rows] == stratum] for rows in (sides.candidate, sides.baseline)]
        strata.append([medians_by(cells.machine_of[rows], np.log(cells.middles[rows])) for rows in both])
    pairs = [(candidate, baseline) for candidate, baseline in strata]
    return Difference(
        stratified_median_ratio_interval(pairs, rng=rng, confidence=confidence),
        stratified_rank_sum_p(pairs),
        messages.PAIRING_WITHIN_COHORT,
        sides.candidate,
        sides.baseline,
    )


def compare_two(
    cells: Cells,
    candidate: NDArray[np.int64],
    baseline: NDArray[np.int64],
    *,
    rng: Generator,
    confidence: float = 0.95,
) -> Difference:
    """One machine against another one, by their results: it holds for these two."""
    values = [np.concatenate([cells.values_of(row) for row in rows]) for rows in (candidate, baseline)]
    ratio = paired_results_ratio_interval(
        [(np.log(values[0]), np.log(values[1]))], rng=rng, confidence=confidence, resamples=RESAMPLES
    )
    p_value = stratified_rank_sum_p([(values[0], values[1])])
    return Difference(ratio, p_value, messages.PAIRING_UNSPECIFIED, candidate, baseline)


def medians_by(groups: NDArray[np.int64], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Median of the values of each group, by ascending group."""
    names, counts = np.unique(groups, return_counts=True)
    if len(names) == len(groups):
        return values[np.argsort(groups, kind="stable")]
    ordered = values[np.lexsort((values, groups))]
    starts = np.cumsum(counts) - counts
    middles: NDArray[np.float64] = (ordered[starts + (counts - 1) // 2] + ordered[starts + counts // 2]) / 2
    return middles
