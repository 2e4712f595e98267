"""What leaves a spool that is full or old: acknowledged records, then raw trials, then never-offered records.

The last leave a tombstone that covers their sequences. The record at the watermark always stays: its
digest proves to the collector that this is the same spool.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

from llmenv_agent import record_size, spool_rows

if TYPE_CHECKING:
    import sqlite3

TOMBSTONE_BYTES = 256
"""More than any tombstone takes: two ids, two times, three numbers and its sentence."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Bytes are those of serialised records; the file is somewhat larger."""

    total_bytes: int = 256 << 20
    acknowledged_bytes: int = 128 << 20
    acknowledged_seconds: float = 30 * 86_400.0


def move_watermark(connection: sqlite3.Connection, watermark: int) -> None:
    """Set the watermark, forwards or back, and count anew what lies below it."""
    before = connection.execute("SELECT watermark FROM spool").fetchone()[0]
    low, high = sorted((before, watermark))
    moved = connection.execute(
        "SELECT ifnull(sum(length(record)), 0) FROM record WHERE sequence > ? AND sequence <= ?", (low, high)
    ).fetchone()[0]
    connection.execute(
        "UPDATE spool SET watermark = ?, acknowledged_bytes = acknowledged_bytes + ?",
        (watermark, moved if watermark >= before else -moved),
    )


def prune(connection: sqlite3.Connection, bounds: Bounds, *, now: float) -> None:
    """Let go of acknowledged records past their bound in bytes or, at `now`, in age; oldest first."""
    acknowledged = connection.execute("SELECT acknowledged_bytes FROM spool").fetchone()[0]
    _let_go(
        connection,
        excess=acknowledged - bounds.acknowledged_bytes,
        older_than=now - bounds.acknowledged_seconds,
    )


def make_room(connection: sqlite3.Connection, bounds: Bounds, *, needed: int, machine_id: str) -> None:
    """Free `needed` bytes, as far as what may be at the collector allows."""
    spool = connection.execute("SELECT offered, record_bytes FROM spool").fetchone()
    excess = spool["record_bytes"] + needed - bounds.total_bytes
    if excess > 0:
        excess -= _let_go(connection, excess=excess)
    if excess > 0:
        excess -= _cut_trials(connection, after=spool["offered"], excess=excess)
    if excess > 0:
        _bury_oldest(connection, bounds, after=spool["offered"], excess=excess, machine_id=machine_id)


def _cut_trials(connection: sqlite3.Connection, *, after: int, excess: int) -> int:
    """Raw trials of the oldest results past `after`: the verdicts and their figures stay. Returns bytes."""
    freed = 0
    while freed < excess and (row := _next_with_trials(connection, after)) is not None:
        after = row["sequence"]
        if spool_rows.is_whole(row):
            record = record_pb2.Record.FromString(row["record"])
            record_size.cut_trials(record.check_finished.result)
            content = record.SerializeToString()
            spool_rows.replace(connection, after, content)
            freed += len(row["record"]) - len(content)
    return freed


def _next_with_trials(connection: sqlite3.Connection, after: int) -> sqlite3.Row | None:
    row: sqlite3.Row | None = connection.execute(
        "SELECT sequence, record, checksum, dropped FROM record"
        " WHERE has_trials = 1 AND sequence > ? ORDER BY sequence LIMIT 1",
        (after,),
    ).fetchone()
    return row


def _bury_oldest(
    connection: sqlite3.Connection, bounds: Bounds, *, after: int, excess: int, machine_id: str
) -> None:
    """Replace the oldest records past `after` by one tombstone that frees `excess` bytes net of itself."""
    freed = -TOMBSTONE_BYTES
    buried: list[sqlite3.Row] = []
    for row in connection.execute(
        "SELECT sequence, length(record) AS size, dropped, is_rejected FROM record"
        " WHERE sequence > ? ORDER BY sequence",
        (after,),
    ):
        if freed >= excess:
            break
        freed += row["size"]
        buried.append(row)
    if freed <= 0:
        return
    covered = sum(max(row["dropped"], 1) for row in buried)
    newly = sum(1 for row in buried if row["dropped"] == 0)
    last = buried[-1]["sequence"]
    for row in buried:
        spool_rows.delete(connection, row["sequence"], row["size"])
    reason = f"the spool reached {bounds.total_bytes:,} bytes"
    content = spool_rows.tombstone(last - covered + 1, last, reason=reason, machine_id=machine_id)
    spool_rows.insert(connection, last, content.SerializeToString(), spooled_at=time.time(), covers=covered)
    connection.execute(
        "UPDATE spool SET dropped = dropped + ?, rejected = rejected - ?",
        (newly, sum(row["is_rejected"] for row in buried)),
    )


def _let_go(connection: sqlite3.Connection, *, excess: int, older_than: float = 0.0) -> int:
    """Of acknowledged records, oldest first, those that are too many bytes or too old; returns bytes freed.

    The record at the watermark stays, which proves where the spool stands.
    """
    freed, last = 0, 0
    with contextlib.closing(
        connection.execute(
            "SELECT sequence, length(record) AS size, spooled_at FROM record"
            " WHERE sequence < (SELECT watermark FROM spool) ORDER BY sequence"
        )
    ) as rows:
        for row in rows:
            if freed >= excess and row["spooled_at"] >= older_than:
                break
            freed, last = freed + row["size"], row["sequence"]
    if last:
        connection.execute("DELETE FROM record WHERE sequence <= ?", (last,))
        connection.execute(
            "UPDATE spool SET record_bytes = record_bytes - ?, acknowledged_bytes = acknowledged_bytes - ?",
            (freed, freed),
        )
    return freed
