"""Acknowledgements in the store: one row each, never deleted.

One is of a check and a cause, or of a check and a known issue whatever its cause, for the verdicts that there
were when it was made: what then turns from a warning into a failure is not covered.  It is confined to the
machines that it names, or holds for all, also those that get the finding later.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_report_pb2, result_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as fleet

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet.queries import status_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

SHORTEST_PREFIX = 8
STATES = {
    "in_force": fleet.KnownFailure.STATE_IN_FORCE,
    "expired": fleet.KnownFailure.STATE_EXPIRED,
    "withdrawn": fleet.KnownFailure.STATE_WITHDRAWN,
}
ADD = """
INSERT INTO store.acknowledgement BY NAME
SELECT $acknowledgement_id::UUID AS acknowledgement_id, $check_name AS check_name,
       $statuses::VARCHAR[] AS statuses, $remedy_id AS remedy_id, $cause AS cause, $finding::BLOB AS finding,
       $machine_ids::UUID[] AS machine_ids, $reason AS reason,
       make_timestamptz($acknowledged_at) AS acknowledged_at, $acknowledged_by AS acknowledged_by,
       make_timestamptz($expires_at) AS expires_at
"""
WITHDRAW = """
UPDATE store.acknowledgement SET withdrawn_at = make_timestamptz($now), withdrawn_by = $by
WHERE acknowledgement_id = $acknowledgement_id::UUID AND withdrawn_at IS NULL
"""
KNOWN = """
SELECT acknowledgement_id::VARCHAR, known.check_name, known.statuses, coalesce(known.remedy_id, ''),
       coalesce(known.cause, ''), stored.finding, (
         SELECT coalesce(list(coalesce(machine.hostname, one.id::VARCHAR)
                              ORDER BY machine.hostname, one.id), [])
         FROM unnest(known.machine_ids) AS one(id) LEFT JOIN store.machine AS machine ON machine_id = one.id
       ) AS hostnames,
       known.reason, epoch_us(known.acknowledged_at), known.acknowledged_by, epoch_us(known.expires_at),
       epoch_us(known.withdrawn_at), coalesce(known.withdrawn_by, ''), known.state
FROM v1.acknowledgements AS known JOIN store.acknowledgement AS stored USING (acknowledgement_id)
"""
BY_ID = KNOWN + "WHERE acknowledgement_id = ?::UUID"
NEWEST = KNOWN + "ORDER BY known.acknowledged_at DESC, acknowledgement_id DESC LIMIT ?"


IN_FORCE = "SELECT acknowledgement_id::VARCHAR FROM v1.acknowledgements WHERE state = 'in_force'"


@dataclass(frozen=True, kw_only=True)
class Note:
    """An acknowledgement that is to be stored.  Times are microseconds since 1970."""

    acknowledgement_id: str
    check_name: str
    statuses: Sequence[str]
    """Words."""
    remedy_id: str | None = None
    cause: str | None = None
    finding: result_pb2.Sentence
    machine_ids: Sequence[str] = ()
    reason: str
    acknowledged_at: int
    acknowledged_by: str
    expires_at: int


def add(connection: duckdb.DuckDBPyConnection, note: Note) -> None:
    connection.execute(
        ADD,
        {
            "acknowledgement_id": note.acknowledgement_id,
            "check_name": note.check_name,
            "statuses": list(note.statuses),
            "remedy_id": note.remedy_id,
            "cause": note.cause,
            "finding": note.finding.SerializeToString(),
            "machine_ids": list(note.machine_ids),
            "reason": note.reason,
            "acknowledged_at": note.acknowledged_at,
            "acknowledged_by": note.acknowledged_by,
            "expires_at": note.expires_at,
        },
    )


def withdraw(connection: duckdb.DuckDBPyConnection, acknowledgement_id: str, *, now: int, by: str) -> None:
    """The first to take one back is the one who is noted."""
    connection.execute(WITHDRAW, {"acknowledgement_id": acknowledgement_id, "now": now, "by": by})


def in_force(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """Ids of those that count now."""
    return frozenset(acknowledgement_id for (acknowledgement_id,) in connection.execute(IN_FORCE).fetchall())


def find(connection: duckdb.DuckDBPyConnection, identity: str) -> str:
    """The whole id.  Raises NotFoundError, or UsageError when a prefix may mean several."""
    if len(identity) < SHORTEST_PREFIX:
        raise UsageError(
            f"An acknowledgement is named by its id or at least {SHORTEST_PREFIX} characters of it,"
            f" not {identity!r}."
        )
    rows = connection.execute(
        "SELECT acknowledgement_id::VARCHAR FROM store.acknowledgement"
        " WHERE starts_with(acknowledgement_id::VARCHAR, lower(?))",
        [identity],
    ).fetchall()
    if not rows:
        raise NotFoundError(
            f"There is no acknowledgement {identity!r}: see `llmenv fleet acknowledge --list`."
        )
    if len(rows) > 1:
        raise UsageError(f"{len(rows)} acknowledgements begin with {identity!r}: give more of the id.")
    return str(rows[0][0])


def by_id(connection: duckdb.DuckDBPyConnection, acknowledgement_id: str) -> fleet.KnownFailure:
    (row,) = connection.execute(BY_ID, [acknowledgement_id]).fetchall()
    return known_failure(row)


def newest(connection: duckdb.DuckDBPyConnection, *, limit: int) -> fleet.ListAcknowledgementsResponse:
    """Newest first."""
    ((total,),) = connection.execute("SELECT count(*) FROM store.acknowledgement").fetchall()
    rows = connection.execute(NEWEST, [limit]).fetchall()
    return fleet.ListAcknowledgementsResponse(known_failures=map(known_failure, rows), total=total)


def known_failure(row: tuple[Any, ...]) -> fleet.KnownFailure:
    return fleet.KnownFailure(
        acknowledgement_id=row[0],
        check_name=row[1],
        statuses=map(status_of, row[2]),
        remedy_id=row[3],
        cause=row[4],
        finding=result_pb2.Sentence.FromString(row[5]),
        hostnames=row[6],
        acknowledgement=fleet_report_pb2.Acknowledgement(
            reason=row[7],
            acknowledged_at=clock.to_timestamp(row[8]),
            acknowledged_by=row[9],
            expires_at=clock.to_timestamp(row[10]),
        ),
        withdrawn_at=clock.to_timestamp(row[11]),
        withdrawn_by=row[12],
        state=STATES[row[13]],
    )
