"""What a version does to the verdicts of checks, by exact tests and with all else equal.

Compared like measurements: machines with themselves where they have both versions, else
within cohorts, never over chips.  Of many machines whose verdict differs each counts once
(McNemar, Psychometrika 12, 1947, exact); of few, their results are counted machine by
machine; without pairs, machines are counted cohort by cohort.  A verdict that is skip or
unknown says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report.cells import integers, read_contexts
from llmenv_collector.fleet_report.contexts import equal_but_for, what_else
from llmenv_collector.fleet_report.steps import Step, Wanted, steps, versions_by_context
from llmenv_collector.fleet_report.versions import is_companion
from llmenv_collector.statistics.beta import regularised_beta
from llmenv_collector.statistics.proportions import stratified_exact_p

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import duckdb
    from numpy.typing import NDArray

EACH_ONCE_FROM = 6
"""Machines whose verdict differs: of fewer, no exact p on machines alone is below 0.05."""
VERDICTS = """
CREATE OR REPLACE TEMP TABLE verdict AS
SELECT dense_rank() OVER (ORDER BY check_name, device) - 1 AS kind, machine,
       dense_rank() OVER (ORDER BY variant, definition) - 1 AS stratum, * EXCLUDE (machine)
FROM (
  SELECT result.check_name, run.device, result.definition, place.machine, place.variant, place.context,
         {side} AS side, count(*) AS results,
         count(*) FILTER (result.status NOT IN ('pass', 'warn')) AS failing,
         arg_max(result.status NOT IN ('pass', 'warn'), place.started_at)::INTEGER AS fails
  FROM found_result AS result JOIN place USING (run_no) JOIN period_run AS run USING (run_no) {sides}
  WHERE result.status NOT IN ('skip', 'unknown') GROUP BY ALL
)
"""
COLUMNS = ("kind", "machine", "stratum", "context", "side", "results", "failing", "fails")


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Columns of shape (n,): one row a check, machine, stratum and context, with counts of its results.

    `stratum`: chip variant, definition and parameters.  `fails`: whether the last result does not end well.
    `kinds`: (check, device) by number.
    """

    kinds: tuple[tuple[str, str], ...]
    contexts: tuple[Mapping[str, str], ...]
    kind: NDArray[np.int64]
    machine: NDArray[np.int64]
    stratum: NDArray[np.int64]
    context: NDArray[np.int64]
    side: NDArray[np.int64]
    results: NDArray[np.int64]
    failing: NDArray[np.int64]
    fails: NDArray[np.int64]


def read_verdicts(connection: duckdb.DuckDBPyConnection, *, has_sides: bool = False) -> Verdicts:
    """After period.lay_out and cells.lay_out_contexts; with sides, only what is in `side_run`."""
    side, sides = ("side_run.side", "JOIN side_run USING (run_no)") if has_sides else ("0", "")
    connection.execute(VERDICTS.format(side=side, sides=sides))
    table = connection.sql(
        f"SELECT {', '.join(COLUMNS)} FROM verdict ORDER BY kind, machine, stratum, context"  # noqa: S608
    ).to_arrow_table()
    kinds = connection.execute(
        "SELECT DISTINCT kind, check_name, device FROM verdict ORDER BY kind"
    ).fetchall()
    return Verdicts(
        kinds=tuple((check_name, device) for _, check_name, device in kinds),
        contexts=read_contexts(connection),
        **{name: integers(table, name) for name in COLUMNS},
    )


def judge_verdict_effects(verdicts: Verdicts, wanted: Wanted) -> list[messages.VerdictEffectRow]:
    """Without q-values and judgements: those are of the whole report."""
    found: list[messages.VerdictEffectRow] = []
    for package in wanted.axes:
        versions = versions_by_context(verdicts.contexts, package)
        present = {versions[context] for context in np.unique(verdicts.context)}
        for step in steps(package, present, wanted):
            found += step_verdicts(verdicts, step, np.array(versions, dtype=object))
    return found


def step_verdicts(
    verdicts: Verdicts, step: Step, versions: NDArray[np.object_]
) -> Iterator[messages.VerdictEffectRow]:
    """One row a check that does not always end well and that both versions can be compared in."""
    is_candidate = (versions == step.candidate)[verdicts.context]
    is_baseline = (versions == step.baseline)[verdicts.context]
    others, width = equal_but_for(verdicts.contexts, step.package)
    strata = verdicts.stratum * width + others[verdicts.context]
    for kind in np.unique(verdicts.kind[(is_candidate | is_baseline) & (verdicts.failing > 0)]):
        of_kind = verdicts.kind == kind
        candidate, baseline = np.flatnonzero(of_kind & is_candidate), np.flatnonzero(of_kind & is_baseline)
        row = compare_verdicts(verdicts, candidate, baseline, strata)
        confounders: tuple[str, ...] = ()
        if row is None and not is_companion(step.package):
            row = compare_verdicts(verdicts, candidate, baseline, verdicts.stratum, paired_only=True)
            confounders = what_else(
                verdicts.contexts, verdicts.context[candidate], verdicts.context[baseline], step.package
            )
        if row is None:
            continue
        row.package, row.baseline, row.candidate = step.package, step.baseline, step.candidate
        row.check_name, row.device = verdicts.kinds[kind]
        row.confounded_with.extend(confounders)
        yield row


def compare_verdicts(
    verdicts: Verdicts,
    candidate: NDArray[np.int64],
    baseline: NDArray[np.int64],
    strata: NDArray[np.int64],
    *,
    paired_only: bool = False,
) -> messages.VerdictEffectRow | None:
    """None where no stratum has both sides."""
    width = int(strata.max(initial=0)) + 1
    units = [verdicts.machine[rows] * width + strata[rows] for rows in (candidate, baseline)]
    common = np.intersect1d(units[0], units[1])
    if common.size:
        paired = [
            rows[np.isin(unit, common)] for rows, unit in zip((candidate, baseline), units, strict=True)
        ]
        return paired_row(verdicts, *paired, strata=strata, width=width)
    return None if paired_only else cohort_row(verdicts, candidate, baseline, strata)


def paired_row(
    verdicts: Verdicts,
    candidate: NDArray[np.int64],
    baseline: NDArray[np.int64],
    *,
    strata: NDArray[np.int64],
    width: int,
) -> messages.VerdictEffectRow:
    after, before = failing_machines(verdicts, candidate), failing_machines(verdicts, baseline)
    worse = sum(fails and not before[machine] for machine, fails in after.items() if machine in before)
    better = sum(not fails and before[machine] for machine, fails in after.items() if machine in before)
    if worse + better >= EACH_ONCE_FROM:
        p_value = sign_p(worse, better)
    else:
        units = [verdicts.machine[rows] * width + strata[rows] for rows in (candidate, baseline)]
        p_value = stratified_exact_p(
            [
                [
                    counts(verdicts, rows[unit == one])
                    for rows, unit in zip((candidate, baseline), units, strict=True)
                ]
                for one in np.unique(units[0])
            ]
        )
    return row_of(after, before, p_value, messages.PAIRING_WITHIN_MACHINE)


def cohort_row(
    verdicts: Verdicts, candidate: NDArray[np.int64], baseline: NDArray[np.int64], strata: NDArray[np.int64]
) -> messages.VerdictEffectRow | None:
    """Each machine counts once a stratum, by its last verdict."""
    common = np.intersect1d(strata[candidate], strata[baseline])
    if not common.size:
        return None
    sides = [rows[np.isin(strata[rows], common)] for rows in (candidate, baseline)]
    tables = []
    for stratum in common:
        both = [failing_machines(verdicts, rows[strata[rows] == stratum]) for rows in sides]
        tables.append([[sum(one.values()), len(one) - sum(one.values())] for one in both])
    after, before = (failing_machines(verdicts, rows) for rows in sides)
    return row_of(after, before, stratified_exact_p(tables), messages.PAIRING_WITHIN_COHORT)


def failing_machines(verdicts: Verdicts, rows: NDArray[np.int64]) -> dict[int, bool]:
    """Whether each machine's last result does not end well, in any of these rows."""
    fails: dict[int, bool] = {}
    for machine, is_failing in zip(
        verdicts.machine[rows].tolist(), verdicts.fails[rows].tolist(), strict=True
    ):
        fails[machine] = fails.get(machine, False) or bool(is_failing)
    return fails


def counts(verdicts: Verdicts, rows: NDArray[np.int64]) -> list[int]:
    failing = int(verdicts.failing[rows].sum())
    return [failing, int(verdicts.results[rows].sum()) - failing]


def sign_p(worse: int, better: int) -> float:
    """Two-sided exact p that of worse + better differences each falls either way alike."""
    n, few = worse + better, min(worse, better)
    return min(1.0, 2 * regularised_beta(n - few, few + 1, 0.5))


def row_of(
    after: Mapping[int, bool], before: Mapping[int, bool], p_value: float, pairing: messages.Pairing.ValueType
) -> messages.VerdictEffectRow:
    return messages.VerdictEffectRow(
        candidate_failing=sum(after.values()),
        candidate_machines=len(after),
        baseline_failing=sum(before.values()),
        baseline_machines=len(before),
        p_value=p_value,
        pairing=pairing,
    )
