"""Puts the sections of a fleet report together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError
from llmenv_collector.fleet_report import (
    cells,
    chips,
    comparisons,
    coverage,
    drift,
    explain,
    exposure,
    findings,
    flaky,
    health,
    imported,
    known_good,
    limits,
    method,
    packages,
    period,
)
from llmenv_collector.fleet_report.compared_sides import require_seen
from llmenv_collector.fleet_report.versions import MACOS, PYTHON

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    import duckdb

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.question import Question


HAS_PACKAGE = """
SELECT 1 FROM period_run JOIN store.environment_package USING (environment_id) WHERE name = $package LIMIT 1
"""


def fleet_report(
    connection: duckdb.DuckDBPyConnection,
    looked_at: period.Period,
    question: Question,
    analysis: Analysis,
) -> messages.GetFleetReportResponse:
    """Sections that nothing was observed for, or that were not asked for, are empty."""
    coverage.require_known(connection, looked_at.checks)
    period.lay_out(connection, looked_at, latest_later=True)
    require_versions(connection, question)
    period.lay_out_measurements(connection)
    # Other processes judge measurements while this one reads what needs none.
    begun = begin(connection, question, analysis) if question.needs_measurements else None
    period.lay_out_latest(connection)
    response = messages.GetFleetReportResponse(
        generated_at=clock.to_timestamp(clock.now()), coverage=coverage.coverage(connection, looked_at)
    )
    response.method.CopyFrom(method.method(connection, question))
    add_verdicts(response, connection, looked_at, question)
    if begun is not None:
        comparisons.add_comparisons(
            response, connection, begun.comparisons, looked_at=looked_at, question=question
        )
        response.known_good.extend(known_good.known_good(response))
        add_chips(response, begun)
        if "chips" in question.sections:
            imported.add_imported(response, connection, analysis, period=looked_at, question=question)
    response.method.limits.extend(limits.limits_of(looked_at))
    if question.explain:
        response.explanations.extend(explain.explanations(looked_at, question))
    limits.cut(response)
    return response


def require_versions(connection: duckdb.DuckDBPyConnection, question: Question) -> None:
    """Raises NotFoundError for a package or version that no run had: the report would be silent of it.

    Where nothing ran at all the report says that.
    """
    if connection.execute("SELECT count(*) FROM period_run").fetchall() == [(0,)]:
        return
    for release in (question.baseline, question.candidate):
        if release is not None:
            require_seen(connection, release)
    if question.package not in {"", MACOS, PYTHON}:
        found = connection.execute(HAS_PACKAGE, {"package": question.package}).fetchone()
        if found is None:
            raise NotFoundError(f"No run of the period had a package {question.package!r}.")


def add_verdicts(
    response: messages.GetFleetReportResponse,
    connection: duckdb.DuckDBPyConnection,
    looked_at: period.Period,
    question: Question,
) -> None:
    """What needs no measurement."""
    sections: dict[str, Callable[[], Sequence[object]]] = {
        "health": lambda: health.health(connection, looked_at),
        "packages": lambda: packages.packages(connection, looked_at),
        "findings": lambda: findings.findings(connection, looked_at),
        "flaky": lambda: flaky.flaky(connection),
        "exposures": lambda: exposure.exposures(connection, looked_at),
        "drifts": lambda: drift.drifts(connection, looked_at, question.pins),
    }
    for name, rows in sections.items():
        if name in question.sections:
            getattr(response, name).extend(rows())


@dataclass(frozen=True)
class Begun:
    """What is judged meanwhile."""

    comparisons: comparisons.Begun
    chips: Future[chips.Chips] | None
    other_definitions: int


def begin(connection: duckdb.DuckDBPyConnection, question: Question, analysis: Analysis) -> Begun:
    """Cells are read once for every section that compares measurements."""
    cells.lay_out_contexts(connection)
    measured = cells.read_cells(connection)
    compared = comparisons.begin(connection, measured, question=question, analysis=analysis)
    if "chips" not in question.sections:
        return Begun(compared, None, 0)
    definitions = chips.read_definitions(connection)
    judged = analysis.begin(
        chips.judge_chips,
        measured,
        definitions,
        reference_chip=question.reference_chip,
        confidence=question.confidence,
    )
    return Begun(compared, judged, definitions.other_results)


def add_chips(response: messages.GetFleetReportResponse, begun: Begun) -> None:
    if begun.chips is None:
        return
    judged = begun.chips.result()
    response.chips.extend(judged.rows)
    if judged.reference is not None:
        response.method.reference.CopyFrom(judged.reference)
    if begun.other_definitions:
        response.method.set_aside.add(reason="other_definition", results=begun.other_definitions)
