"""What a version does to each measurement, all else equal.

Each version of a watched package, and each build of macOS, is compared with the one
before it in the fleet, or with the baseline that was asked for.  Equal has to be all else
of the context: the other watched packages, Python and macOS; torchvision and torchaudio
go with torch, and have no row where torch changed as well.  Where no machine, and no cohort
of three a side, has both with all else equal, machines are compared with themselves whatever
else changed, and the row names what did.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report import rows
from llmenv_collector.fleet_report.contexts import equal_but_for, what_else
from llmenv_collector.fleet_report.sides import Sides, compare, compare_pairs, paired_rows
from llmenv_collector.fleet_report.steps import Step, Wanted, steps, versions_by_context
from llmenv_collector.fleet_report.versions import is_companion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.random import Generator

    from llmenv_collector.fleet_report.cells import Cells
    from llmenv_collector.fleet_report.sides import Difference

SEED = 20_261_130
FEWEST_OF_A_COHORT = 3
"""Machines a side, without which the same machines are preferred, whatever else changed on them."""


def judge_effects(cells: Cells, wanted: Wanted, *, part: slice = slice(None)) -> list[messages.EffectRow]:
    """Without q-values and judgements: those are of the whole report.  Of all steps those of the part."""
    contexts = np.unique(cells.context_of)
    versions = {package: versions_by_context(cells.contexts, package) for package in wanted.axes}
    every = [
        step
        for package in wanted.axes
        for step in steps(package, {versions[package][context] for context in contexts}, wanted)
    ]
    return [
        row
        for step in every[part]
        for row in step_effects(cells, step, versions[step.package], confidence=wanted.confidence)
    ]


def step_effects(
    cells: Cells, step: Step, versions: list[str], *, confidence: float
) -> Iterator[messages.EffectRow]:
    """One row a series in which both versions can be compared."""
    of_context = np.array(versions, dtype=object)
    is_baseline, is_candidate = (
        (of_context == version)[cells.context_of] for version in (step.baseline, step.candidate)
    )
    if not is_baseline.any() or not is_candidate.any():
        return
    others, width = equal_but_for(cells.contexts, step.package)
    strata = cells.variant_of * width + others[cells.context_of]
    rng = np.random.default_rng(SEED)
    edges = np.searchsorted(cells.series_of, np.arange(len(cells.series) + 1))
    for series in range(len(cells.series)):
        inside = np.arange(edges[series], edges[series + 1])
        sides = Sides(inside[is_baseline[inside]], inside[is_candidate[inside]], strata)
        if not sides.baseline.size or not sides.candidate.size:
            continue
        difference = compare(cells, sides, rng=rng, confidence=confidence)
        if (difference is None or is_powerless(cells, difference)) and not is_companion(step.package):
            along = confounded(cells, sides, step.package, rng=rng, confidence=confidence)
            if along is not None:
                yield effect_row(cells, step, series, *along)
                continue
        if difference is not None:
            yield effect_row(cells, step, series, difference)


def is_powerless(cells: Cells, difference: Difference) -> bool:
    """Whether so few machines of a cohort have a side that no exact test can find anything."""
    if difference.pairing == messages.PAIRING_WITHIN_MACHINE:
        return False
    sides = (difference.candidate_rows, difference.baseline_rows)
    return min(len(np.unique(cells.machine_of[rows])) for rows in sides) < FEWEST_OF_A_COHORT


def confounded(
    cells: Cells, sides: Sides, package: str, *, rng: Generator, confidence: float
) -> tuple[Difference, tuple[str, ...]] | None:
    """The same machines whatever else changed on them, and what did."""
    candidate, baseline = paired_rows(cells, replace(sides, strata=np.zeros_like(sides.strata)))
    if not candidate.size:
        return None
    difference = compare_pairs(cells, candidate, baseline, rng=rng, confidence=confidence)
    contexts = (cells.context_of[candidate], cells.context_of[baseline])
    return difference, what_else(cells.contexts, *contexts, package)


def effect_row(
    cells: Cells, step: Step, series: int, difference: Difference, confounders: tuple[str, ...] = ()
) -> messages.EffectRow:
    candidate, baseline = difference.candidate_rows, difference.baseline_rows
    variants = np.unique(cells.variant_of[candidate])
    return messages.EffectRow(
        package=step.package,
        baseline=step.baseline,
        candidate=step.candidate,
        series=rows.series_message(cells.series[series]),
        ratio=rows.estimate_message(difference.ratio),
        p_value=difference.p_value,
        pairing=difference.pairing,
        candidate_machines=len(np.unique(cells.machine_of[candidate])),
        baseline_machines=len(np.unique(cells.machine_of[baseline])),
        candidate_results=cells.results_of(np.unique(candidate)),
        baseline_results=cells.results_of(np.unique(baseline)),
        variants=[rows.variant_message(cells.variants[variant]) for variant in variants],
        confounded_with=confounders,
    )
