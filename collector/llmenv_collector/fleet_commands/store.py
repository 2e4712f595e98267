"""Commands in the store: one row each, committed before anybody is told of it.

What a machine is told follows from the rows alone, so that any collector on this store hands it down, also
after a restart.  A command is handed down, again with each new stream, until the machine says that it has it.
Of one that was handed down and not answered before its time ended or it was taken back, the machine is still
told: it may have it or not, and only the machine can say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import agent_service_pb2, record_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.ids import new_id

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    import duckdb

SHORTEST_PREFIX = 8
# For the machine to answer in: it has no time limit of its own.
CANCEL_SECONDS = 86_400.0
FINAL = ("ended", "expired", "refused", "cancelled")


@dataclass(frozen=True)
class Batch:
    """Commands that are issued in one go.  Times are microseconds since 1970."""

    batch_id: str
    machine_ids: Sequence[str]
    run_checks: agent_service_pb2.RunChecks
    issued_at: int
    issued_by: str
    expires_at: int


def issue(connection: duckdb.DuckDBPyConnection, batch: Batch) -> None:
    """A row a machine, all in one statement: all of them or none."""
    connection.execute(
        """
        INSERT INTO store.command BY NAME
        SELECT unnest($command_ids::UUID[]) AS command_id, unnest($cancel_ids::UUID[]) AS cancel_id,
               unnest($machine_ids::UUID[]) AS machine_id, $batch_id::UUID AS batch_id,
               $suite AS suite, $checks::VARCHAR[] AS checks, $message::BLOB AS message,
               make_timestamptz($issued_at) AS issued_at, $issued_by AS issued_by,
               make_timestamptz($expires_at) AS expires_at
        """,
        {
            "command_ids": [new_id() for _ in batch.machine_ids],
            "cancel_ids": [new_id() for _ in batch.machine_ids],
            "machine_ids": list(batch.machine_ids),
            "batch_id": batch.batch_id,
            "suite": batch.run_checks.suite,
            "checks": list(batch.run_checks.checks),
            "message": batch.run_checks.SerializeToString(),
            "issued_at": batch.issued_at,
            "issued_by": batch.issued_by,
            "expires_at": batch.expires_at,
        },
    )


def hand_down(
    connection: duckdb.DuckDBPyConnection, machine_ids: Sequence[str]
) -> dict[str, list[agent_service_pb2.Command]]:
    """What each machine is to be told now, oldest first; noted as handed down before it is."""
    now = clock.now()
    rows = connection.execute(
        """
        SELECT machine_id::VARCHAR, command_id::VARCHAR, command.cancel_id::VARCHAR, command.message,
               epoch_us(command.expires_at), command.cancelled_at IS NOT NULL
        FROM store.command JOIN v1.commands AS stated USING (command_id, machine_id)
        WHERE machine_id IN (SELECT unnest($machine_ids::UUID[])) AND CASE
          WHEN command.cancelled_at IS NULL THEN stated.state = 'issued'
          ELSE command.handed_down_at IS NOT NULL AND stated.state IN ('issued', 'accepted', 'started') END
        ORDER BY command.issued_at, command_id
        """,
        {"machine_ids": machine_ids},
    ).fetchall()
    if rows:
        connection.execute(
            "UPDATE store.command SET handed_down_at = make_timestamptz($now)"
            " WHERE handed_down_at IS NULL AND command_id IN (SELECT unnest($command_ids::UUID[]))",
            {"now": now, "command_ids": [command_id for _, command_id, *_ in rows]},
        )
    told: dict[str, list[agent_service_pb2.Command]] = {machine_id: [] for machine_id in machine_ids}
    for machine_id, *row in rows:
        told[machine_id].append(command_of(row, now))
    return told


def command_of(row: Sequence[Any], now: int) -> agent_service_pb2.Command:
    """The command as its machine gets it, or the one that takes it back."""
    command_id, cancel_id, message, expires_at, is_cancelled = row
    if is_cancelled:
        return agent_service_pb2.Command(
            command_id=cancel_id,
            expires_in_seconds=CANCEL_SECONDS,
            cancel_run=agent_service_pb2.CancelRun(command_id=command_id),
        )
    return agent_service_pb2.Command(
        command_id=command_id,
        expires_in_seconds=max(0, expires_at - now) / clock.MICROSECONDS,
        run_checks=agent_service_pb2.RunChecks.FromString(message),
    )


def cancel(connection: duckdb.DuckDBPyConnection, command_ids: Collection[str], *, now: int, by: str) -> None:
    """The first to take a command back is the one who is noted."""
    connection.execute(
        "UPDATE store.command SET cancelled_at = make_timestamptz($now), cancelled_by = $by"
        " WHERE cancelled_at IS NULL AND command_id IN (SELECT unnest($command_ids::UUID[]))",
        {"now": now, "by": by, "command_ids": list(command_ids)},
    )


def find(connection: duckdb.DuckDBPyConnection, identity: str) -> list[str]:
    """Ids of the commands that an id names: a command's, a batch's or a run's, or a prefix of one.

    Raises NotFoundError, or UsageError when the prefix may mean several things.
    """
    if len(identity) < SHORTEST_PREFIX:
        raise UsageError(
            f"A command is named by its id or at least {SHORTEST_PREFIX} characters of it, not {identity!r}."
        )
    rows = connection.execute(
        """
        WITH named AS (
          SELECT batch_id AS id, command_id FROM store.command
          UNION SELECT command_id, command_id FROM store.command
          UNION SELECT run_id, command_id FROM store.command_outcome SEMI JOIN store.command
                USING (machine_id, command_id) WHERE run_id IS NOT NULL
        )
        SELECT list(DISTINCT command_id::VARCHAR ORDER BY command_id::VARCHAR) AS command_ids
        FROM named WHERE starts_with(id::VARCHAR, lower($id)) GROUP BY id
        """,
        {"id": identity},
    ).fetchall()
    if not rows:
        raise NotFoundError(f"There is no command {identity!r}: see `llmenv fleet commands`.")
    meant = [command_ids for (command_ids,) in rows]
    if any(command_ids != meant[0] for command_ids in meant):
        raise UsageError(f"Several commands or batches begin with {identity!r}: give more of the id.")
    return list(meant[0])


def by_ids(
    connection: duckdb.DuckDBPyConnection, command_ids: Collection[str], *, connected: Collection[str]
) -> list[fleet.IssuedCommand]:
    """Sorted by hostname."""
    return _read(
        connection,
        "WHERE command_id IN (SELECT unnest($command_ids::UUID[])) ORDER BY stated.hostname, command_id",
        {"command_ids": list(command_ids)},
        connected,
    )


def newest(
    connection: duckdb.DuckDBPyConnection, *, batch_id: str, limit: int, connected: Collection[str]
) -> list[fleet.IssuedCommand]:
    """Newest first, then by hostname; of one batch where `batch_id` is an id or a prefix of one."""
    return _read(
        connection,
        "WHERE starts_with(command.batch_id::VARCHAR, lower($batch_id))"
        " ORDER BY command.issued_at DESC, stated.hostname, command_id LIMIT $limit",
        {"batch_id": batch_id, "limit": limit},
        connected,
    )


def _read(
    connection: duckdb.DuckDBPyConnection,
    clauses: str,
    values: dict[str, Any],
    connected: Collection[str],
) -> list[fleet.IssuedCommand]:
    rows = connection.execute(
        f"""
        SELECT command_id::VARCHAR, command.batch_id::VARCHAR, machine_id::VARCHAR, stated.hostname,
               epoch_us(command.issued_at), epoch_us(command.expires_at), command.issued_by, command.message,
               stated.state, stated.reason, list_transform(stated.run_ids, lambda each: each::VARCHAR),
               epoch_us(command.cancelled_at)
        FROM store.command JOIN v1.commands AS stated USING (command_id, machine_id) {clauses}
        """,  # noqa: S608 (our own clauses)
        values,
    ).fetchall()
    return [_issued(row, connected) for row in rows]


def _issued(row: tuple[Any, ...], connected: Collection[str]) -> fleet.IssuedCommand:
    command_id, batch_id, machine_id, hostname, issued_at, expires_at, issued_by, message, *stated = row
    state, reason, run_ids, cancelled_at = stated
    return fleet.IssuedCommand(
        command_id=command_id,
        batch_id=batch_id,
        machine_id=machine_id,
        hostname=hostname,
        is_connected=machine_id in connected,
        issued_at=clock.to_timestamp(issued_at),
        expires_at=clock.to_timestamp(expires_at),
        issued_by=issued_by,
        run_checks=agent_service_pb2.RunChecks.FromString(message),
        state=state_of(state),
        reason=reason,
        run_ids=run_ids,
        cancelled_at=clock.to_timestamp(cancelled_at),
    )


def state_of(word: str) -> record_pb2.CommandOutcome.State.ValueType:
    """Unspecified for a command of which the machine has said nothing."""
    known: dict[str, record_pb2.CommandOutcome.State.ValueType] = {
        name.removeprefix("STATE_").lower(): number
        for name, number in record_pb2.CommandOutcome.State.items()
    }
    return known.get(word, record_pb2.CommandOutcome.STATE_UNSPECIFIED)


def is_over(command: fleet.IssuedCommand) -> bool:
    """Whether nothing more will become of it."""
    return command.state in {state_of(word) for word in FINAL}
