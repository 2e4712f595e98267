"""What leaves a spool that is full or old: first acknowledged records, then never-offered ones.

The latter leave a tombstone that covers their sequences. The record at the watermark always stays: its
digest proves to the collector that this is the same spool.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id

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


def prune(connection: sqlite3.Connection, bounds: Bounds) -> None:
    """Let go of acknowledged records past their bound in bytes or age, oldest first."""
    oldest_kept = time.time() - bounds.acknowledged_seconds
    while (row := _oldest_acknowledged(connection)) is not None:
        if row["acknowledged_bytes"] <= bounds.acknowledged_bytes and row["spooled_at"] >= oldest_kept:
            break
        _delete_acknowledged(connection, row)


def make_room(connection: sqlite3.Connection, bounds: Bounds, *, needed: int, machine_id: str) -> None:
    """Free `needed` bytes, as far as what may be at the collector allows."""
    spool = connection.execute("SELECT offered, record_bytes FROM spool").fetchone()
    excess = spool["record_bytes"] + needed - bounds.total_bytes
    while excess > 0 and (row := _oldest_acknowledged(connection)) is not None:
        _delete_acknowledged(connection, row)
        excess -= row["size"]
    if excess > 0:
        _bury_oldest(connection, bounds, after=spool["offered"], excess=excess, machine_id=machine_id)


def _bury_oldest(
    connection: sqlite3.Connection, bounds: Bounds, *, after: int, excess: int, machine_id: str
) -> None:
    """Replace the oldest records past `after` by one tombstone that frees `excess` bytes net of itself."""
    freed = -TOMBSTONE_BYTES
    buried: list[sqlite3.Row] = []
    for row in connection.execute(
        "SELECT sequence, length(record) AS size, dropped FROM record WHERE sequence > ? ORDER BY sequence",
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
        _delete(connection, row["sequence"], row["size"])
    content = tombstone(
        last - covered + 1,
        last,
        reason=f"the spool reached {bounds.total_bytes:,} bytes",
        machine_id=machine_id,
    ).SerializeToString()
    connection.execute(
        "INSERT INTO record (sequence, record, spooled_at, dropped) VALUES (?, ?, ?, ?)",
        (last, content, time.time(), covered),
    )
    connection.execute(
        "UPDATE spool SET record_bytes = record_bytes + ?, dropped = dropped + ?", (len(content), newly)
    )


def tombstone(
    first: int, last: int, *, reason: str, machine_id: str, record_id: str = ""
) -> record_pb2.Record:
    """A record that stands for the sequences `first` to `last`."""
    record = record_pb2.Record(
        record_id=record_id or new_id(),
        machine_id=machine_id,
        tombstone=record_pb2.Tombstone(
            first_sequence=first, last_sequence=last, dropped_records=last - first + 1, reason=reason
        ),
    )
    record.measured_at.GetCurrentTime()
    return record


def _oldest_acknowledged(connection: sqlite3.Connection) -> sqlite3.Row | None:
    """None when only the record at the watermark is left, which proves where the spool stands."""
    row: sqlite3.Row | None = connection.execute(
        "SELECT sequence, length(record) AS size, spooled_at, acknowledged_bytes FROM record, spool"
        " WHERE sequence < watermark ORDER BY sequence LIMIT 1"
    ).fetchone()
    return row


def _delete_acknowledged(connection: sqlite3.Connection, row: sqlite3.Row) -> None:
    _delete(connection, row["sequence"], row["size"])
    connection.execute("UPDATE spool SET acknowledged_bytes = acknowledged_bytes - ?", (row["size"],))


def _delete(connection: sqlite3.Connection, sequence: int, size: int) -> None:
    connection.execute("DELETE FROM record WHERE sequence = ?", (sequence,))
    connection.execute("UPDATE spool SET record_bytes = record_bytes - ?", (size,))
