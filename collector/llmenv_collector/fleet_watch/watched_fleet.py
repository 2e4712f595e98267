"""What a watch of the fleet reads: machines, what runs, what waits, and results since a position.

A position is a sequence of each spool, so that no result is said twice or left unsaid, whenever it was
committed and however often the watch began again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_watch_pb2 as messages
from llmenv.fleet.v1 import result_pb2, run_pb2

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import duckdb

FAILING = frozenset({"fail", "error", "timeout", "crash"})
NEITHER = frozenset({"skip", "unknown"})
"""Words that say nothing about whether a check fails."""

MACHINES = """
SELECT sighting.machine_id::VARCHAR, coalesce(machine.hostname, ''), coalesce(machine.chip, ''),
       epoch_us(sighting.last_seen_at)
FROM store.machine_sighting AS sighting LEFT JOIN store.machine AS machine USING (machine_id)
ORDER BY machine.hostname, sighting.machine_id
"""
# As v1.delivery has it, without counting every record that is held.
WAITING = """
SELECT said.machine_id::VARCHAR,
       sum(greatest(said.minted::BIGINT - coalesce(mark.sequence, 0)::BIGINT, 0))::BIGINT
FROM store.spool_ledger AS said LEFT JOIN store.watermark AS mark USING (spool_id)
WHERE said.spool_id NOT IN (SELECT previous_spool_id FROM store.watermark WHERE previous_spool_id IS NOT NULL)
GROUP BY said.machine_id
"""
RUNS = """
WITH open_run AS MATERIALIZED (
  SELECT * FROM (
    SELECT machine_id, arg_max(run_id, started_at) AS run_id FROM store.run GROUP BY machine_id
  ) ANTI JOIN store.run_end USING (machine_id, run_id)
  WHERE machine_id::VARCHAR IN (SELECT unnest($connected::VARCHAR[]))
), ended AS (
  SELECT machine_id, run_id, result_id, check_name FROM store.result
  WHERE run_id IN (SELECT run_id FROM open_run)
), begun AS (
  SELECT machine_id, run_id, result_id, check_name, measured_at FROM store.check_start
  WHERE run_id IN (SELECT run_id FROM open_run)
)
SELECT run.machine_id::VARCHAR, run.message, at_work.check_name, coalesce(done.checks, 0)
FROM open_run JOIN store.run AS run USING (machine_id, run_id)
LEFT JOIN (
  SELECT machine_id, run_id, count(DISTINCT check_name) AS checks FROM ended GROUP BY ALL
) AS done USING (machine_id, run_id)
LEFT JOIN (
  SELECT machine_id, run_id, arg_max(check_name, measured_at) AS check_name
  FROM begun ANTI JOIN ended USING (machine_id, run_id, result_id) GROUP BY ALL
) AS at_work USING (machine_id, run_id)
"""
WATERMARKS = "SELECT spool_id::VARCHAR, sequence FROM store.watermark"
RESULTS = """
WITH position AS (
  SELECT unnest($spools::UUID[]) AS spool_id, unnest($sequences::UBIGINT[]) AS sequence
)
SELECT result.machine_id::VARCHAR, coalesce(run.hostname, ''), result.run_id::VARCHAR,
       coalesce(run.environment_name, ''), result.device, result.check_name, result.status, result.message,
       epoch_us(record.received_at), record.record_id::VARCHAR, count(*) OVER ()
FROM store.record AS record
JOIN store.result AS result USING (record_id)
LEFT JOIN position ON position.spool_id = record.spool_id
LEFT JOIN store.run AS run ON run.machine_id = result.machine_id AND run.run_id = result.run_id
WHERE record.sequence > coalesce(position.sequence, 0) AND record.received_at >= make_timestamptz($floor)
  AND (len($checks) = 0 OR list_contains($checks::VARCHAR[], result.check_name))
  AND ($machines IS NULL OR list_contains($machines::VARCHAR[], result.machine_id::VARCHAR))
  AND NOT list_contains($revoked::VARCHAR[], result.machine_id::VARCHAR)
ORDER BY record.received_at DESC, record.spool_id, record.sequence DESC LIMIT $most
"""
VERDICTS = """
SELECT * FROM (
  SELECT result.machine_id::VARCHAR AS machine_id, coalesce(run.environment_name, ''), result.device,
         result.check_name,
         arg_max(result.status, (epoch_us(run.started_at)::HUGEINT << 64) + result.sequence) AS status
  FROM store.result AS result LEFT JOIN store.run AS run USING (machine_id, run_id)
  WHERE result.status NOT IN ('skip', 'unknown')
    AND result.record_id NOT IN (SELECT unnest($without::UUID[]))
    AND (len($checks) = 0 OR list_contains($checks::VARCHAR[], result.check_name))
  GROUP BY ALL
) WHERE status IN ('fail', 'error', 'timeout', 'crash')
"""

Place = tuple[str, str, str, str]
"""Machine id, environment, device and check: what has one verdict at a time."""


@dataclass(frozen=True)
class Question:
    """What is watched; None stands for all machines, also those that are enrolled later."""

    machines: frozenset[str] | None = None
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Arrived:
    """A result; `place` is where its verdict counts."""

    place: Place
    word: str
    record_id: str
    message: messages.WatchedResult


def require_checks(connection: duckdb.DuckDBPyConnection, checks: Iterable[str]) -> None:
    """Raises NotFoundError for a check that neither began nor ended anywhere."""
    for name in checks:
        query = (
            "SELECT 1 FROM store.check_start WHERE check_name = $1"
            " UNION ALL SELECT 1 FROM store.result WHERE check_name = $1 LIMIT 1"
        )
        if not connection.execute(query, [name]).fetchall():
            raise NotFoundError(
                f"No machine has ever run a check {name!r}: see `llmenv fleet report --by check`."
            )


def read_positions(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """What is durable of each spool."""
    return dict(connection.execute(WATERMARKS).fetchall())


def read_failing(
    connection: duckdb.DuckDBPyConnection, question: Question, *, without: Collection[str] = ()
) -> set[Place]:
    """Where the newest verdict is a failing one, not counting the records `without`."""
    known = {"without": list(without), "checks": list(question.checks)}
    return {tuple(row[:4]) for row in connection.execute(VERDICTS, known).fetchall()}


def read_results(
    connection: duckdb.DuckDBPyConnection,
    question: Question,
    *,
    positions: Mapping[str, int],
    floor: int,
    revoked: Collection[str],
    most: int,
) -> tuple[list[Arrived], int]:
    """Those after the positions, the newest `most` in the order of arrival, and how many are left out.

    `floor` is when they arrived at the earliest, microseconds since 1970: it spares reading all of history.
    """
    rows = connection.execute(
        RESULTS,
        {
            "spools": list(positions),
            "sequences": list(positions.values()),
            "floor": floor,
            "checks": list(question.checks),
            "machines": None if question.machines is None else sorted(question.machines),
            "revoked": sorted(revoked),
            "most": most,
        },
    ).fetchall()
    left_out = rows[0][-1] - len(rows) if rows else 0
    return [arrived(row) for row in reversed(rows)], left_out


def arrived(row: tuple[Any, ...]) -> Arrived:
    machine_id, hostname, run_id, environment, device, check, word, content, received_at, record_id, _ = row
    result = result_pb2.Result.FromString(content)
    return Arrived(
        place=(machine_id, environment, device, check),
        word=word,
        record_id=record_id,
        message=messages.WatchedResult(
            machine_id=machine_id,
            hostname=hostname,
            run_id=run_id,
            environment_name=environment,
            device=device,
            check_name=check,
            status=result.status,
            reason=result.reason,
            wall_seconds=result.wall_seconds,
            received_at=clock.to_timestamp(received_at),
        ),
    )


def read_machines(
    connection: duckdb.DuckDBPyConnection,
    question: Question,
    *,
    connected: Collection[str],
    last_seen: Mapping[str, int],
    revoked: Collection[str],
) -> dict[str, messages.WatchedMachine]:
    """Each as it is now, without the checks that fail there."""
    waiting = dict(connection.execute(WAITING).fetchall())
    runs = read_runs(connection, connected)
    found = {}
    for machine_id, hostname, chip, stored_last_seen in connection.execute(MACHINES).fetchall():
        is_watched = question.machines is None or machine_id in question.machines
        if machine_id in revoked or not is_watched:
            continue
        is_connected = machine_id in connected
        seen = [time for time in (stored_last_seen, last_seen.get(machine_id)) if time is not None]
        found[machine_id] = messages.WatchedMachine(
            machine_id=machine_id,
            hostname=hostname,
            chip=chip,
            is_connected=is_connected,
            last_seen_at=None if is_connected else clock.to_timestamp(max(seen, default=None)),
            run=runs.get(machine_id),
            waiting_records=waiting.get(machine_id, 0),
        )
    return found


def read_runs(
    connection: duckdb.DuckDBPyConnection, connected: Collection[str]
) -> dict[str, messages.WatchedRun]:
    """The newest run of each connected machine, unless it has ended."""
    rows = connection.execute(RUNS, {"connected": sorted(connected)}).fetchall()
    return {machine_id: watched_run(*row) for machine_id, *row in rows}


def watched_run(content: bytes, check_name: str | None, ended: int) -> messages.WatchedRun:
    run = run_pb2.Run.FromString(content)
    return messages.WatchedRun(
        run_id=run.run_id,
        suite=run.suite,
        environment_name=run.environment.name,
        device=run.device,
        started_at=run.started_at if run.HasField("started_at") else None,
        check_name=check_name or "",
        ended_checks=ended,
        planned_checks=len(run.planned_checks),
    )
