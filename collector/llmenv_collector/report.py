"""The fleet report: coverage, health, chips, package versions and findings.

Everything is counted from stored results; a section without results is empty.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from llmenv.catalog.packages import WATCHED
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import result_pb2

from llmenv_collector import clock
from llmenv_collector.queries import readiness, status_of

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb

# Tables of the reading connection alone: the runs and results in the period, and
# the latest result of each check in each environment on each machine and device.
PERIOD_RUN = """
CREATE TEMP TABLE period_run AS SELECT * FROM store.run
WHERE started_at >= coalesce(make_timestamptz($since::BIGINT), '-infinity'::TIMESTAMPTZ)
  AND NOT list_contains($revoked::VARCHAR[], machine_id::VARCHAR)
"""
PERIOD_RESULT = """
CREATE TEMP TABLE period_result AS
SELECT result.* EXCLUDE (device, machine_id, log_tail), run.machine_id, run.hostname, run.chip, run.gpu_cores,
       run.memory_bytes, run.environment_id, run.environment_name, run.device,
       run.started_at AS run_started_at
FROM store.result AS result
JOIN period_run AS run ON run.run_id = result.run_id AND run.machine_id = result.machine_id
"""
LATEST_RESULT = """
CREATE TEMP TABLE latest_result AS SELECT * FROM period_result
QUALIFY row_number() OVER (
  PARTITION BY machine_id, environment_name, device, check_name ORDER BY run_started_at DESC, sequence DESC
) = 1
"""


def fleet_report(
    connection: duckdb.DuckDBPyConnection, *, revoked: Collection[str], since: int | None
) -> fleet.GetFleetReportResponse:
    """Of runs that started at `since` (microseconds since 1970) or later; of all when None."""
    connection.execute(PERIOD_RUN, {"since": since, "revoked": list(revoked)})
    connection.execute(PERIOD_RESULT)
    connection.execute(LATEST_RESULT)
    return fleet.GetFleetReportResponse(
        generated_at=clock.to_timestamp(clock.now()),
        coverage=coverage(connection, revoked=revoked),
        health=health(connection),
        chips=chips(connection),
        packages=packages(connection, revoked=revoked),
        findings=findings(connection),
    )


def coverage(connection: duckdb.DuckDBPyConnection, *, revoked: Collection[str]) -> fleet.Coverage:
    machines = connection.execute(
        """
        SELECT coalesce(machine.hostname, sighting.machine_id::VARCHAR),
               sighting.machine_id IN (SELECT machine_id FROM period_run)
        FROM store.machine_sighting AS sighting LEFT JOIN store.machine AS machine USING (machine_id)
        WHERE NOT list_contains(?::VARCHAR[], sighting.machine_id::VARCHAR)
        ORDER BY 1
        """,
        [list(revoked)],
    ).fetchall()
    runs, freshest, oldest, results = connection.execute(
        """
        SELECT count(*), epoch_us(max(started_at)), epoch_us(min(started_at)),
               (SELECT count(*) FROM period_result)
        FROM period_run
        """
    ).fetchall()[0]
    return fleet.Coverage(
        machines=len(machines),
        reporting=sum(is_reporting for _, is_reporting in machines),
        freshest_run_at=clock.to_timestamp(freshest),
        oldest_run_at=clock.to_timestamp(oldest),
        silent_machines=[hostname for hostname, is_reporting in machines if not is_reporting],
        runs=runs,
        results=results,
    )


def health(connection: duckdb.DuckDBPyConnection) -> list[fleet.HealthRow]:
    """By hostname; a run without any result yet is a row in which nothing is known."""
    words: dict[tuple[str, str, str], dict[str, str]] = defaultdict(dict)
    for machine_id, environment, device, check_name, status in connection.execute(
        "SELECT machine_id::VARCHAR, environment_name, device, check_name, status FROM latest_result"
    ).fetchall():
        words[machine_id, environment, device][check_name] = status
    rows = connection.execute(
        """
        SELECT machine_id::VARCHAR, environment_name, device, hostname, chip, run_id::VARCHAR,
               epoch_us(started_at), is_apple_silicon
        FROM period_run
        QUALIFY row_number() OVER (
          PARTITION BY machine_id, environment_name, device ORDER BY started_at DESC
        ) = 1
        ORDER BY hostname, environment_name, device
        """
    ).fetchall()
    return [health_row(row, words[row[0], row[1], row[2]]) for row in rows]


def health_row(row: tuple[Any, ...], words: dict[str, str]) -> fleet.HealthRow:
    machine_id, environment, device, hostname, chip, run_id, started_at, apple = row
    return fleet.HealthRow(
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


def chips(connection: duckdb.DuckDBPyConnection) -> list[fleet.ChipRow]:
    """Medians of the machines' medians, of checks that passed or warned.

    Left out is what was measured in low-power mode or under thermal pressure:
    it is slower for a reason that is not the chip's.
    """
    rows = connection.execute(
        """
        WITH comparable AS (
          SELECT result.* FROM period_result AS result
          LEFT JOIN store.condition AS condition
            ON condition.result_id = result.result_id AND condition.machine_id = result.machine_id
            AND condition.moment = 'before'
          WHERE result.status IN ('pass', 'warn')
            AND coalesce(condition.low_power_mode, false) = false
            AND coalesce(condition.thermal_pressure, '') IN ('', 'nominal')
        ), by_machine AS (
          SELECT chip, gpu_cores, memory_bytes, device, check_name, measured.name, unit, direction,
                 machine_id, median(value) AS middle, count(*) AS results
          FROM comparable JOIN store.measurement AS measured USING (machine_id, result_id)
          WHERE measured.case_name IS NULL AND isfinite(value)
          GROUP BY ALL
        )
        SELECT chip, gpu_cores, memory_bytes, device, check_name, name, unit, direction, median(middle),
               min(middle), max(middle), count(*), sum(results)::BIGINT
        FROM by_machine GROUP BY ALL ORDER BY check_name, name, device, chip, gpu_cores, memory_bytes
        """
    ).fetchall()
    return [chip_row(row) for row in rows]


def chip_row(row: tuple[Any, ...]) -> fleet.ChipRow:
    (
        chip,
        gpu_cores,
        memory_bytes,
        device,
        check_name,
        name,
        unit,
        direction,
        median,
        low,
        high,
        machines,
        results,
    ) = row
    return fleet.ChipRow(
        chip=chip,
        gpu_cores=gpu_cores,
        memory_bytes=memory_bytes,
        device=device,
        check_name=check_name,
        measurement=name,
        unit=unit,
        direction=direction,
        median=median,
        low=low,
        high=high,
        machines=machines,
        results=results,
    )


def packages(connection: duckdb.DuckDBPyConnection, *, revoked: Collection[str]) -> list[fleet.PackageRow]:
    """Of the packages that training depends on, by name and version."""
    now = connection.execute(
        """
        SELECT package.name, package.version, count(DISTINCT environment.machine_id)
        FROM v1.environments AS environment JOIN store.environment_package AS package USING (environment_id)
        WHERE package.name IN (SELECT unnest(?))
          AND NOT list_contains(?::VARCHAR[], environment.machine_id::VARCHAR)
        GROUP BY ALL
        """,
        [WATCHED, list(revoked)],
    ).fetchall()
    verdicts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for name, version, status, count in connection.execute(
        """
        SELECT package.name, package.version, result.status, count(*)
        FROM period_result AS result JOIN store.environment_package AS package USING (environment_id)
        WHERE package.name IN (SELECT unnest(?)) GROUP BY ALL
        """,
        [WATCHED],
    ).fetchall():
        verdicts[name, version][status] = count
    machines = {(name, version): count for name, version, count in now}
    return [
        fleet.PackageRow(
            package=name,
            version=version,
            machines=machines.get((name, version), 0),
            status_counts=verdicts[name, version],
        )
        for name, version in sorted(machines.keys() | verdicts.keys())
    ]


def findings(connection: duckdb.DuckDBPyConnection) -> list[fleet.FindingRow]:
    """The latest results that are not pass, those with one cause together, the most frequent first."""
    rows = connection.execute(
        """
        SELECT check_name, status, remedy_id, arg_max(message, run_started_at),
               list_sort(list(DISTINCT hostname))
        FROM latest_result WHERE status <> 'pass'
        GROUP BY check_name, status, remedy_id, cause
        ORDER BY count(DISTINCT machine_id) DESC, check_name, status
        """
    ).fetchall()
    return [
        fleet.FindingRow(
            check_name=check_name,
            status=status_of(status),
            reason=result_pb2.Result.FromString(message).reason,
            remedy_id=remedy_id,
            hostnames=hostnames,
        )
        for check_name, status, remedy_id, message, hostnames in rows
    ]
