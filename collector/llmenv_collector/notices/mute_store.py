"""Mutes in the store: one row each, never deleted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import notice_service_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

SHORTEST_PREFIX = 8
STATES = {
    "in_force": messages.Mute.STATE_IN_FORCE,
    "expired": messages.Mute.STATE_EXPIRED,
    "withdrawn": messages.Mute.STATE_WITHDRAWN,
}
ADD = """
INSERT INTO store.notice_mute BY NAME
SELECT $mute_id::UUID AS mute_id, $machine_ids::UUID[] AS machine_ids, $check_name AS check_name,
       $kind AS kind, $reason AS reason, make_timestamptz($muted_at) AS muted_at, $muted_by AS muted_by,
       make_timestamptz($expires_at) AS expires_at
"""
WITHDRAW = """
UPDATE store.notice_mute SET withdrawn_at = make_timestamptz($now), withdrawn_by = $by
WHERE mute_id = $mute_id::UUID AND withdrawn_at IS NULL
"""
KNOWN = """
SELECT mute_id::VARCHAR, (
         SELECT coalesce(list(coalesce(machine.hostname, one.id::VARCHAR)
                              ORDER BY machine.hostname, one.id), [])
         FROM unnest(mute.machine_ids) AS one(id) LEFT JOIN store.machine AS machine ON machine_id = one.id
       ) AS hostnames,
       check_name, kind, reason, epoch_us(muted_at), muted_by, epoch_us(expires_at), epoch_us(withdrawn_at),
       coalesce(withdrawn_by, ''), state,
       (SELECT count(*) FROM store.state_change AS change
        WHERE change.fate = 'waiting' AND change.muted_by = mute.mute_id)
FROM v1.notice_mutes AS mute
"""
BY_ID = KNOWN + "WHERE mute_id = ?::UUID"
NEWEST = KNOWN + "ORDER BY muted_at DESC, mute_id DESC LIMIT ?"


@dataclass(frozen=True, kw_only=True)
class NewMute:
    """One that is to be stored.  Times are microseconds since 1970."""

    mute_id: str
    machine_ids: Sequence[str]
    check_name: str
    kind: str
    reason: str
    muted_at: int
    muted_by: str
    expires_at: int


def add(connection: duckdb.DuckDBPyConnection, mute: NewMute) -> None:
    connection.execute(ADD, {**vars(mute), "machine_ids": list(mute.machine_ids)})


def withdraw(connection: duckdb.DuckDBPyConnection, mute_id: str, *, now: int, by: str) -> None:
    """The first to end one is the one who is noted."""
    connection.execute(WITHDRAW, {"mute_id": mute_id, "now": now, "by": by})


def find(connection: duckdb.DuckDBPyConnection, identity: str) -> str:
    """The whole id.  Raises NotFoundError, or UsageError when a prefix may mean several."""
    if len(identity) < SHORTEST_PREFIX:
        raise UsageError(
            f"A mute is named by its id or at least {SHORTEST_PREFIX} characters of it, not {identity!r}."
        )
    rows = connection.execute(
        "SELECT mute_id::VARCHAR FROM store.notice_mute WHERE starts_with(mute_id::VARCHAR, lower(?))",
        [identity],
    ).fetchall()
    if not rows:
        raise NotFoundError(f"There is no mute {identity!r}: see `llmenv fleet notices mutes`.")
    if len(rows) > 1:
        raise UsageError(f"{len(rows)} mutes begin with {identity!r}: give more of the id.")
    return str(rows[0][0])


def by_id(connection: duckdb.DuckDBPyConnection, mute_id: str) -> messages.Mute:
    (row,) = connection.execute(BY_ID, [mute_id]).fetchall()
    return mute_of(row)


def newest(connection: duckdb.DuckDBPyConnection, *, limit: int) -> messages.ListMutesResponse:
    """Newest first."""
    ((total,),) = connection.execute("SELECT count(*) FROM store.notice_mute").fetchall()
    rows = connection.execute(NEWEST, [limit]).fetchall()
    return messages.ListMutesResponse(mutes=map(mute_of, rows), total=total)


def mute_of(row: tuple[Any, ...]) -> messages.Mute:
    mute_id, hostnames, check_name, kind, reason, muted_at, muted_by, *others = row
    expires_at, withdrawn_at, withdrawn_by, state, waiting = others
    return messages.Mute(
        mute_id=mute_id,
        hostnames=hostnames,
        check_name=check_name,
        kind=kind,
        reason=reason,
        muted_at=clock.to_timestamp(muted_at),
        muted_by=muted_by,
        expires_at=clock.to_timestamp(expires_at),
        withdrawn_at=clock.to_timestamp(withdrawn_at),
        withdrawn_by=withdrawn_by,
        state=STATES[state],
        waiting_changes=waiting,
    )
