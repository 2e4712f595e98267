"""How a comparison was judged, and what was set aside for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report import period

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.fleet_report.question import Question


def method(connection: duckdb.DuckDBPyConnection, question: Question, *, tests: int = 0) -> messages.Method:
    """After period.lay_out_measurements."""
    return messages.Method(
        confidence=question.confidence,
        minimum_effect=question.minimum_effect,
        false_discovery_rate=question.false_discovery_rate,
        tests=tests,
        set_aside=[
            messages.SetAside(reason=reason, results=results)
            for reason, results in period.set_aside(connection).items()
        ],
    )
