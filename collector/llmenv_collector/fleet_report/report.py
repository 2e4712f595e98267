"""Puts the sections of a fleet report together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.fleet_report import chips, coverage, findings, health, packages, period

if TYPE_CHECKING:
    import duckdb


def fleet_report(
    connection: duckdb.DuckDBPyConnection, looked_at: period.Period
) -> messages.GetFleetReportResponse:
    """Sections that nothing was observed for are empty."""
    period.lay_out(connection, looked_at)
    period.lay_out_measurements(connection)
    return messages.GetFleetReportResponse(
        generated_at=clock.to_timestamp(clock.now()),
        coverage=coverage.coverage(connection, looked_at),
        health=health.health(connection),
        chips=chips.chips(connection),
        packages=packages.packages(connection, looked_at),
        findings=findings.findings(connection),
        method=messages.Method(
            set_aside=[
                messages.SetAside(reason=reason, results=results)
                for reason, results in period.set_aside(connection).items()
            ]
        ),
    )
