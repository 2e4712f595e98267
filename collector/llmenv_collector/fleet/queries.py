"""What people ask of machines and of the list of runs, answered from the store."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.catalog.status import WORDS, blocking_checks
from llmenv.fleet.v1 import fleet_report_pb2, machine_pb2, result_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as fleet

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import duckdb

    from llmenv_collector.identity.standing import Standing

DEFAULT_RUNS = 50
MAX_RUNS = 1_000


@dataclass(frozen=True)
class Presence:
    """What the open streams know beyond the store.  Times are microseconds since 1970."""

    connected: frozenset[str] = frozenset()
    last_seen: Mapping[str, int] | None = None


def list_machines(
    connection: duckdb.DuckDBPyConnection, *, standing: Standing, presence: Presence
) -> list[fleet.FleetMachine]:
    """Sorted by hostname, without those that were revoked."""
    rows = connection.execute(
        """
        SELECT sighting.machine_id::VARCHAR, machine.hostname, machine.message,
               epoch_us(sighting.enrolled_at), epoch_us(sighting.last_seen_at), sighting.agent_version,
               last.run_id::VARCHAR, epoch_us(last.started_at), epoch_us(sighting.doubled_at)
        FROM store.machine_sighting AS sighting
        LEFT JOIN store.machine AS machine USING (machine_id)
        LEFT JOIN (
          SELECT machine_id, arg_max(run_id, started_at) AS run_id, max(started_at) AS started_at
          FROM store.run GROUP BY machine_id
        ) AS last USING (machine_id)
        ORDER BY machine.hostname, sighting.machine_id
        """
    ).fetchall()
    return [fleet_machine(row, standing, presence) for row in rows if row[0] not in standing.barred]


def fleet_machine(row: tuple[Any, ...], standing: Standing, presence: Presence) -> fleet.FleetMachine:
    machine_id, hostname, message, enrolled_at, stored_last_seen, agent_version, *last_run, doubled_at = row
    run_id, run_at = last_run
    machine = machine_pb2.Machine.FromString(message or b"")
    machine.machine_id = machine_id
    machine.hostname = hostname or ""
    seen = [
        time for time in (stored_last_seen, (presence.last_seen or {}).get(machine_id)) if time is not None
    ]
    return fleet.FleetMachine(
        machine=machine,
        enrolled_at=clock.to_timestamp(enrolled_at),
        last_seen_at=clock.to_timestamp(max(seen, default=None)),
        is_connected=machine_id in presence.connected,
        last_run_id=run_id or "",
        last_run_at=clock.to_timestamp(run_at),
        agent_version=agent_version,
        doubled_at=clock.to_timestamp(doubled_at),
        state=state_of(machine_id, standing),
    )


def state_of(machine_id: str, standing: Standing) -> fleet.MachineState.ValueType:
    if machine_id in standing.pending:
        return fleet.MACHINE_STATE_PENDING
    return fleet.MACHINE_STATE_RETIRED if machine_id in standing.retired else fleet.MACHINE_STATE_ENROLLED


def list_runs(connection: duckdb.DuckDBPyConnection, *, machine: str, limit: int) -> fleet.ListRunsResponse:
    """Newest first; runs of revoked machines stay part of the history."""
    matching = "FROM store.run WHERE $machine IN ('', machine_id::VARCHAR, hostname)"
    total = connection.execute(f"SELECT count(*) {matching}", {"machine": machine}).fetchall()[0][0]
    if machine and not total:  # a name that it had when it ran is good enough
        require_known(connection, machine)
    rows = connection.execute(
        f"""
        SELECT run.run_id::VARCHAR, run.machine_id::VARCHAR, run.hostname, run.chip, run.environment_name,
               run.suite, run.device, epoch_us(run.started_at), epoch_us(run_end.ended_at),
               coalesce(run_end.outcome, 0), coalesce(run.schedule_name, ''), run.is_apple_silicon
        FROM (SELECT * {matching} ORDER BY started_at DESC, run_id DESC LIMIT $limit) AS run
        LEFT JOIN store.run_end AS run_end USING (machine_id, run_id)
        ORDER BY run.started_at DESC, run.run_id DESC
        """,  # noqa: S608 (a constant)
        {"machine": machine, "limit": min(limit or DEFAULT_RUNS, MAX_RUNS)},
    ).fetchall()
    words = status_words(connection, [row[0] for row in rows])
    runs = [run_summary(row, words[row[1], row[0]]) for row in rows]
    return fleet.ListRunsResponse(runs=runs, total_runs=total)


def require_known(connection: duckdb.DuckDBPyConnection, machine: str) -> None:
    """By id or hostname. Raises NotFoundError."""
    ((known,),) = connection.execute(
        "SELECT count(*) FROM store.machine_sighting LEFT JOIN store.machine USING (machine_id)"
        " WHERE $machine IN (machine_sighting.machine_id::VARCHAR, hostname)",
        {"machine": machine},
    ).fetchall()
    if not known:
        raise NotFoundError(f"There is no machine {machine!r}: see `llmenv fleet machines`.")


def status_words(
    connection: duckdb.DuckDBPyConnection, run_ids: Iterable[str]
) -> dict[tuple[str, str], dict[str, str]]:
    """For each machine and run: the latest status of each check."""
    rows = connection.execute(
        """
        SELECT machine_id::VARCHAR, run_id::VARCHAR, check_name, arg_max(status, sequence)
        FROM store.result WHERE run_id IN (SELECT unnest(?::UUID[])) GROUP BY ALL
        """,
        [list(run_ids)],
    ).fetchall()
    words: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
    for machine_id, run_id, check_name, status in rows:
        words[machine_id, run_id][check_name] = status
    return words


def run_summary(row: tuple[Any, ...], words: dict[str, str]) -> fleet.RunSummary:
    run_id, machine_id, hostname, chip, environment, suite, device, started_at, ended_at, *rest = row
    outcome, schedule_name, apple = rest
    return fleet.RunSummary(
        run_id=run_id,
        machine_id=machine_id,
        hostname=hostname,
        chip=chip,
        environment_name=environment,
        suite=suite,
        device=device,
        started_at=clock.to_timestamp(started_at),
        ended_at=clock.to_timestamp(ended_at),
        outcome=outcome,
        status_counts=Counter(words.values()),
        readiness=readiness(words, is_apple_silicon=apple),
        schedule_name=schedule_name,
    )


def readiness(words: Mapping[str, str], *, is_apple_silicon: bool) -> fleet_report_pb2.Readiness:
    blocking = blocking_checks(words, is_apple_silicon=is_apple_silicon)
    return fleet_report_pb2.Readiness(is_ready=not blocking, blocking=blocking)


def status_of(word: str) -> result_pb2.Status.ValueType:
    """The status of a stored word."""
    return next(status for status, known in WORDS.items() if known == word)
