"""Machines unlike the others of their cohort: the same chip variant, device, macOS and watched versions.

Each machine is left out of what it is compared with.  Which machines stand out is asked of
every cohort and series in which one deviates by the smallest effect that matters; the other
cohorts were looked at too and count as tests that found nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report import rows
from llmenv_collector.statistics.nested import middle_of_segments
from llmenv_collector.statistics.outliers import FEWEST_OTHERS, LARGEST_SHARE, Cohort, cohort_outliers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from llmenv_collector.fleet_report.cells import Cells

LISTED_BELOW = 0.05
"""P of one cohort and series: a machine above it is as the others are, and is no row."""


@dataclass(frozen=True)
class Outliers:
    rows: tuple[messages.OutlierRow, ...]
    untold: int
    """Cohorts and series in which no machine stands out, a count."""


def judge_outliers(cells: Cells, *, minimum_effect: float) -> Outliers:
    """Without q-values and judgements: those are of the whole report."""
    found: list[messages.OutlierRow] = []
    untold = 0
    known = summary_of(cells)
    for cohort in cohorts(cells):
        told = list(rows_of(cells, known, cohort, minimum_effect))
        found += told
        untold += not told
    return Outliers(tuple(found), untold)


def summary_of(cells: Cells) -> Cohort:
    """Of every cell at once."""
    counts = np.diff(cells.starts)
    if not counts.size:
        return Cohort(np.empty(0), np.empty(0), counts)
    logarithms, cell_of = np.log(cells.values), np.repeat(np.arange(len(counts)), counts)
    if (np.diff(logarithms)[np.diff(cell_of) == 0] < 0).any():
        logarithms = logarithms[np.lexsort((logarithms, cell_of))]
    begins = cells.starts[:-1]
    means = np.add.reduceat(logarithms, begins) / counts
    squares = np.add.reduceat((logarithms - means[cell_of]) ** 2, begins)
    return Cohort(middle_of_segments(logarithms, counts), squares, counts)


def cohorts(cells: Cells) -> Iterator[NDArray[np.int64]]:
    """Cells of each series, variant and context, one a machine, where there are machines enough."""
    keys = (cells.context_of, cells.variant_of, cells.series_of)
    order = np.lexsort((cells.machine_of, *keys))
    changes = np.zeros(max(0, len(order) - 1), dtype=bool)
    for key in keys:
        changes |= np.diff(key[order]) != 0
    for cohort in np.split(order, np.flatnonzero(changes) + 1):
        if len(cohort) > FEWEST_OTHERS:
            yield cohort


def rows_of(
    cells: Cells, known: Cohort, cohort: NDArray[np.int64], minimum_effect: float
) -> Iterator[messages.OutlierRow]:
    if not stands_out(np.sort(known.middles[cohort]), math.log1p(minimum_effect)):
        return
    summary = Cohort(known.middles[cohort], known.squares[cohort], known.runs[cohort])
    for one in cohort_outliers(summary, level=LISTED_BELOW, minimum_effect=minimum_effect):
        cell = cohort[one.index]
        yield messages.OutlierRow(
            machine_id=cells.machines[cells.machine_of[cell]].machine_id,
            hostname=cells.machines[cells.machine_of[cell]].hostname,
            variant=rows.variant_message(cells.variants[cells.variant_of[cell]]),
            series=rows.series_message(cells.series[cells.series_of[cell]]),
            ratio=one.ratio,
            others=len(cohort) - 1,
            p_value=one.p_value,
            versions=cells.contexts[cells.context_of[cell]],
        )


def stands_out(ordered: NDArray[np.float64], least: float) -> bool:
    """Whether any machine can be `least` away from the median of the others, whoever is left out."""
    n = len(ordered)
    most = math.ceil(LARGEST_SHARE * n)
    lowest, highest = ordered[max(0, (n - 1) // 2 - most)], ordered[min(n - 1, n // 2 + most)]
    return bool(ordered[-1] - lowest >= least or highest - ordered[0] >= least)
