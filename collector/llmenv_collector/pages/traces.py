"""What was measured around a change: the points that its chart shows, those that the statistics compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.pages.sections.changes import MOST_CHARTS, Traces
from llmenv_collector.plot.thinning import thinned
from llmenv_collector.plot.time_series import Point

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    from llmenv.fleet.v1.fleet_report_pb2 import ChangeRow

MOST_POINTS = 200
TRACE = """
SELECT epoch(started_at), value FROM compared
WHERE machine_id::VARCHAR = $machine_id AND environment_name = $environment_name AND device = $device
  AND check_name = $check_name AND case_name = $case_name AND measurement = $measurement AND unit = $unit
  AND definition_hash = $definition_hash AND parameters_json = $parameters_json
ORDER BY started_at
"""


def read_traces(connection: duckdb.DuckDBPyConnection, changes: Sequence[ChangeRow]) -> Traces:
    """Of the first changes, by their place; of each the whole series, thinned where it is long.

    The connection holds the tables of the period, see `fleet_report.period`.
    """
    traces = {}
    for number, change in enumerate(changes[:MOST_CHARTS]):
        points = read_trace(connection, change)
        if len(points) > 1:
            traces[number] = points
    return traces


def read_trace(connection: duckdb.DuckDBPyConnection, change: ChangeRow) -> tuple[Point, ...]:
    series = change.series
    rows = connection.execute(
        TRACE,
        {
            "machine_id": change.machine_id,
            "environment_name": change.environment_name,
            "device": series.device,
            "check_name": series.check_name,
            "case_name": series.case_name,
            "measurement": series.measurement,
            "unit": series.unit,
            "definition_hash": series.definition_hash,
            "parameters_json": series.parameters_json,
        },
    ).fetchall()
    points = [Point(time=float(time), value=float(value)) for time, value in rows]
    changed_at = change.changed_at.ToNanoseconds() / 1e9
    return thinned(points, most=MOST_POINTS, around=[changed_at])
