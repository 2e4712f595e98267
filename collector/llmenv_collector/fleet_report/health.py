"""The latest verdicts of every environment on every machine and device, and whether it is ready."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.queries import readiness, status_of

if TYPE_CHECKING:
    import duckdb

NEWEST_RUNS = """
SELECT machine_id::VARCHAR, environment_name, device, hostname, chip, run_id::VARCHAR, epoch_us(started_at),
       is_apple_silicon
FROM period_run
QUALIFY row_number() OVER (PARTITION BY machine_id, environment_name, device ORDER BY started_at DESC) = 1
ORDER BY hostname, environment_name, device
"""


def health(connection: duckdb.DuckDBPyConnection) -> list[messages.HealthRow]:
    """By hostname; a run without any result yet is a row in which nothing is known."""
    words: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for machine_id, environment, device, check_name, status in connection.execute(
        "SELECT machine_id::VARCHAR, environment_name, device, check_name, status FROM latest_result"
    ).fetchall():
        words[machine_id, environment, device][check_name] = status
    rows = connection.execute(NEWEST_RUNS).fetchall()
    return [health_row(row, words[row[0], row[1], row[2]]) for row in rows]


def health_row(row: tuple[Any, ...], words: dict[str, str]) -> messages.HealthRow:
    machine_id, environment, device, hostname, chip, run_id, started_at, apple = row
    return messages.HealthRow(
        machine_id=machine_id,
        hostname=hostname,
        chip=chip,
        environment_name=environment,
        device=device,
        run_id=run_id,
        started_at=clock.to_timestamp(started_at),
        statuses={check_name: status_of(word) for check_name, word in words.items()},
        readiness=readiness(words, is_apple_silicon=apple),
    )
