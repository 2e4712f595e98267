"""Puts the sections of a fleet report together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.fleet_report import chips, coverage, findings, health, packages, period

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.question import Question


def fleet_report(
    connection: duckdb.DuckDBPyConnection,
    looked_at: period.Period,
    question: Question,
    analysis: Analysis,
) -> messages.GetFleetReportResponse:
    """Sections that nothing was observed for, or that were not asked for, are empty."""
    del analysis
    sections = question.sections
    period.lay_out(connection, looked_at)
    period.lay_out_measurements(connection)
    response = messages.GetFleetReportResponse(
        generated_at=clock.to_timestamp(clock.now()),
        coverage=coverage.coverage(connection, looked_at),
        method=messages.Method(
            confidence=question.confidence,
            minimum_effect=question.minimum_effect,
            false_discovery_rate=question.false_discovery_rate,
            set_aside=[
                messages.SetAside(reason=reason, results=results)
                for reason, results in period.set_aside(connection).items()
            ],
        ),
    )
    if "health" in sections:
        response.health.extend(health.health(connection))
    if "chips" in sections:
        response.chips.extend(chips.chips(connection))
    if "packages" in sections:
        response.packages.extend(packages.packages(connection, looked_at))
    if "findings" in sections:
        response.findings.extend(findings.findings(connection))
    return response
