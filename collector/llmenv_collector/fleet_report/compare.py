"""Two machines, chips, versions or days: what differs in measurements, verdicts and circumstances."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.fleet_report import compared_sides, coverage, method, period
from llmenv_collector.fleet_report.cells import lay_out_contexts, read_cells
from llmenv_collector.fleet_report.compared_sides import TwoSides, days_of
from llmenv_collector.fleet_report.differences import differences
from llmenv_collector.fleet_report.effects import SEED, effect_row, judge_effects
from llmenv_collector.fleet_report.hypotheses import settle
from llmenv_collector.fleet_report.question import Release
from llmenv_collector.fleet_report.sides import (
    Sides,
    compare,
    compare_cohorts,
    compare_pairs,
    compare_two,
    paired_rows,
)
from llmenv_collector.fleet_report.steps import Step, Wanted
from llmenv_collector.fleet_report.verdict_effects import (
    Verdicts,
    compare_verdicts,
    counts,
    judge_verdict_effects,
    read_verdicts,
)
from llmenv_collector.statistics.proportions import stratified_exact_p

if TYPE_CHECKING:
    import duckdb
    from numpy.random import Generator
    from numpy.typing import NDArray

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.cells import Cells
    from llmenv_collector.fleet_report.question import Question
    from llmenv_collector.fleet_report.sides import Difference

    Rows = tuple[list[messages.EffectRow], list[messages.VerdictEffectRow]]

# So that what is said to be set aside is of the two.
NEITHER_SIDE = "DELETE FROM found_result WHERE run_no NOT IN (SELECT run_no FROM side_run)"


def within(request: messages.CompareFleetRequest) -> messages.GetFleetReportRequest:
    """The rest of the question, its period wide enough for the days that are compared.  Raises UsageError."""
    asked = messages.GetFleetReportRequest()
    asked.CopyFrom(request.within)
    days = days_of(request.baseline, request.candidate)
    if days is not None and not asked.HasField("since"):
        asked.since.FromJsonString(f"{min(days)}T00:00:00Z")
    return asked


def compare_fleet(
    request: messages.CompareFleetRequest,
    connection: duckdb.DuckDBPyConnection,
    looked_at: period.Period,
    question: Question,
    analysis: Analysis,
) -> messages.CompareFleetResponse:
    """Raises UsageError or NotFoundError for what cannot be compared."""
    coverage.require_known(connection, looked_at.checks)
    period.lay_out(connection, looked_at)
    sides = compared_sides.understood(connection, request.baseline, request.candidate)
    compared_sides.lay_out(connection, sides)
    connection.execute(NEITHER_SIDE)
    period.lay_out_measurements(connection)
    lay_out_contexts(connection)
    has_sides = sides.kind != "package"
    effects, verdict_effects = analysis.judge(
        judge_sides,
        read_cells(connection, has_sides=has_sides),
        read_verdicts(connection, has_sides=has_sides),
        sides,
        confidence=question.confidence,
    )
    tests = settle(
        [*effects, *verdict_effects],
        minimum_effect=question.minimum_effect,
        false_discovery_rate=question.false_discovery_rate,
    )
    return messages.CompareFleetResponse(
        generated_at=clock.to_timestamp(clock.now()),
        kind=sides.kind,
        effects=sorted(effects, key=reading_order),
        verdict_effects=[row for row in verdict_effects if differs(row)],
        differences=differences(connection),
        method=method.method(connection, question, tests=tests),
    )


def reading_order(row: messages.EffectRow) -> tuple[bool, float, str, str]:
    """What is real first, the largest first."""
    is_real = row.judgement in {messages.JUDGEMENT_BETTER, messages.JUDGEMENT_WORSE}
    return (not is_real, -abs(math.log(row.ratio.value)), row.series.check_name, row.series.measurement)


def differs(row: messages.VerdictEffectRow) -> bool:
    return row.candidate_failing * row.baseline_machines != row.baseline_failing * row.candidate_machines


def judge_sides(cells: Cells, verdicts: Verdicts, sides: TwoSides, *, confidence: float) -> Rows:
    """Without q-values and judgements."""
    if sides.kind == "package":
        wanted = Wanted(
            baseline=Release(sides.package, sides.baseline),
            candidate=Release(sides.package, sides.candidate),
            confidence=confidence,
        )
        return judge_effects(cells, wanted), judge_verdict_effects(verdicts, wanted)
    return (
        measured_effects(cells, sides, confidence=confidence),
        verdicts_of_sides(verdicts, sides),
    )


def measured_effects(cells: Cells, sides: TwoSides, *, confidence: float) -> list[messages.EffectRow]:
    found = []
    step = Step("", sides.baseline, sides.candidate)
    rng = np.random.default_rng(SEED)
    for series in range(len(cells.series)):
        inside = np.flatnonzero(cells.series_of == series)
        candidate, baseline = (inside[cells.side_of[inside] == side] for side in (1, 0))
        if candidate.size and baseline.size:
            difference = series_difference(cells, sides, candidate, baseline, rng=rng, confidence=confidence)
            if difference is not None:
                found.append(effect_row(cells, step, series, difference))
    return found


def series_difference(
    cells: Cells,
    sides: TwoSides,
    candidate: NDArray[np.int64],
    baseline: NDArray[np.int64],
    *,
    rng: Generator,
    confidence: float,
) -> Difference | None:
    if sides.kind == "machine":
        return of_machines(cells, candidate, baseline, rng=rng, confidence=confidence)
    contexts = Sides(baseline, candidate, cells.context_of)
    if sides.kind == "chip":
        difference = compare_cohorts(cells, in_common(contexts), rng=rng, confidence=confidence)
        if difference is None:
            anyhow = replaced_strata(contexts, np.zeros_like(cells.context_of))
            difference = compare_cohorts(cells, anyhow, rng=rng, confidence=confidence)
            if difference is not None:
                return dataclasses.replace(difference, pairing=messages.PAIRING_UNSPECIFIED)
        return difference
    pairs = paired_rows(cells, replaced_strata(contexts, np.zeros_like(cells.context_of)))
    if pairs[0].size:
        return compare_pairs(cells, *pairs, rng=rng, confidence=confidence)
    width = len(cells.contexts) or 1
    return compare(
        cells,
        replaced_strata(contexts, cells.variant_of * width + cells.context_of),
        rng=rng,
        confidence=confidence,
    )


def of_machines(
    cells: Cells,
    candidate: NDArray[np.int64],
    baseline: NDArray[np.int64],
    *,
    rng: Generator,
    confidence: float,
) -> Difference:
    """On the same versions where they have any in common."""
    common = in_common(Sides(baseline, candidate, cells.context_of))
    is_equal = bool(common.candidate.size)
    if is_equal:
        candidate, baseline = common.candidate, common.baseline
    difference = compare_two(cells, candidate, baseline, rng=rng, confidence=confidence)
    variants = set(cells.variant_of[np.concatenate([candidate, baseline])].tolist())
    if is_equal and len(variants) == 1:
        return dataclasses.replace(difference, pairing=messages.PAIRING_WITHIN_COHORT)
    return difference


def in_common(sides: Sides) -> Sides:
    """What is in strata that both sides have."""
    common = np.intersect1d(sides.strata[sides.candidate], sides.strata[sides.baseline])
    return Sides(
        sides.baseline[np.isin(sides.strata[sides.baseline], common)],
        sides.candidate[np.isin(sides.strata[sides.candidate], common)],
        sides.strata,
    )


def replaced_strata(sides: Sides, strata: NDArray[np.int64]) -> Sides:
    return dataclasses.replace(sides, strata=strata)


def verdicts_of_sides(verdicts: Verdicts, sides: TwoSides) -> list[messages.VerdictEffectRow]:
    """Machines and chips differ in what a stratum holds equal, so only the check counts there."""
    found = []
    strata = verdicts.stratum if sides.kind == "date" else np.zeros_like(verdicts.stratum)
    for kind in np.unique(verdicts.kind[verdicts.failing > 0]):
        of_kind = verdicts.kind == kind
        candidate, baseline = (np.flatnonzero(of_kind & (verdicts.side == side)) for side in (1, 0))
        if not candidate.size or not baseline.size:
            continue
        row = compare_verdicts(verdicts, candidate, baseline, strata)
        if row is not None and sides.kind == "machine":
            # One machine a side: what can be counted are its results.
            row.p_value = stratified_exact_p([[counts(verdicts, rows) for rows in (candidate, baseline)]])
            row.pairing = messages.PAIRING_UNSPECIFIED
        if row is not None:
            row.baseline, row.candidate = sides.baseline, sides.candidate
            row.check_name, row.device = verdicts.kinds[kind]
            found.append(row)
    return found
