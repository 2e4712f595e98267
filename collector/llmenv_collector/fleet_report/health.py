"""The latest verdicts of every environment on every machine and device, and whether it is ready."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from llmenv.catalog.status import core_checks
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.fleet.queries import readiness, status_of
from llmenv_collector.fleet_report.period import RECEIVED

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.fleet_report.period import Period

    Words = dict[tuple[str, str, str], dict[str, str]]

NEWEST_RUNS = """
SELECT machine_id::VARCHAR, environment_name, device, hostname, chip, run_id::VARCHAR, epoch_us(started_at),
       is_apple_silicon
FROM period_run
QUALIFY row_number() OVER (PARTITION BY machine_id, environment_name, device ORDER BY started_at DESC) = 1
ORDER BY hostname, environment_name, device
"""


# Of every core check, whatever checks were asked for: an environment is no less ready for a question.
NEWEST_OF_CORE = """
SELECT run.machine_id::VARCHAR, run.environment_name, run.device, result.check_name,
       arg_max(result.status, (epoch_us(run.started_at)::HUGEINT << 64) + result.sequence)
FROM store.result AS result JOIN period_run AS run USING (machine_id, run_id)
WHERE list_contains($core::VARCHAR[], result.check_name)
"""


def health(connection: duckdb.DuckDBPyConnection, looked_at: Period) -> list[messages.HealthRow]:
    """By hostname; a run without any result yet is a row in which nothing is known."""
    words = words_of(
        connection.execute(
            "SELECT machine_id::VARCHAR, environment_name, device, check_name, status FROM latest_result"
        ).fetchall()
    )
    core = core_words(connection, looked_at) if looked_at.checks else words
    rows = [
        health_row(row, words[row[0], row[1], row[2]], core[row[0], row[1], row[2]])
        for row in connection.execute(NEWEST_RUNS).fetchall()
    ]
    # What keeps one from being ready has a column, and in another it is not unknown.
    shown = {check_name for row in rows for check_name in row.readiness.blocking}
    for row in rows:
        known = core[row.machine_id, row.environment_name, row.device]
        for check_name in shown & known.keys():
            row.statuses[check_name] = status_of(known[check_name])
    return rows


def core_words(connection: duckdb.DuckDBPyConnection, looked_at: Period) -> Words:
    """As they were known at the period's end."""
    known: dict[str, Any] = {"core": list(core_checks(is_apple_silicon=True))}
    query = NEWEST_OF_CORE
    if not looked_at.is_now:
        query += RECEIVED.format(record="result")
        known["as_of"] = looked_at.as_of
    return words_of(connection.execute(f"{query} GROUP BY ALL", known).fetchall())


def words_of(rows: list[tuple[Any, ...]]) -> Words:
    """Status word by check of each environment on each machine and device."""
    words: Words = defaultdict(dict)
    for machine_id, environment, device, check_name, status in rows:
        words[machine_id, environment, device][check_name] = status
    return words


def health_row(row: tuple[Any, ...], words: dict[str, str], core: dict[str, str]) -> messages.HealthRow:
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
        readiness=readiness(core, is_apple_silicon=apple),
    )
