"""A spool that was copied (clone, Time Machine, Migration Assistant) goes on under a name of its own.

Records keep their UUIDs and are numbered anew from 1; the first record says what it continues.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id

if TYPE_CHECKING:
    import sqlite3


def fork(connection: sqlite3.Connection, *, shared_sequence: int, machine_id: str | None = None) -> str:
    """Within the caller's transaction; returns the new spool id.

    Dead letters have had their verdict and stay behind. `machine_id` moves the records to a new identity.
    """
    spool = connection.execute("SELECT spool_id, machine_id FROM spool").fetchone()
    machine_id = machine_id or str(spool["machine_id"])
    kept = connection.execute(
        "SELECT record, spooled_at, dropped FROM record WHERE sequence > ? AND is_rejected = 0"
        " ORDER BY sequence",
        (shared_sequence,),
    ).fetchall()
    first = _fork_record(
        str(spool["spool_id"]), shared_sequence, machine_id, lost=_lost_after(connection, shared_sequence)
    )
    spool_id = new_id()
    connection.execute("DELETE FROM record")
    connection.execute(
        "UPDATE spool SET spool_id = ?, machine_id = ?, last_sequence = 0, watermark = 0, offered = 0,"
        " record_bytes = 0, acknowledged_bytes = 0, rejected = 0, dropped = 0",
        (spool_id, machine_id),
    )
    _add(connection, first.SerializeToString(), spooled_at=time.time(), dropped=0, machine_id=machine_id)
    for row in kept:
        _add(
            connection,
            row["record"],
            spooled_at=row["spooled_at"],
            dropped=row["dropped"],
            machine_id=machine_id,
        )
    return spool_id


def _lost_after(connection: sqlite3.Connection, shared_sequence: int) -> int:
    """Records after it that were let go, since they had been acknowledged."""
    row = connection.execute(
        "SELECT sequence - max(dropped - 1, 0) FROM record ORDER BY sequence LIMIT 1"
    ).fetchone()
    return max(row[0] - 1 - shared_sequence, 0) if row else 0


def _fork_record(
    previous_spool_id: str, shared_sequence: int, machine_id: str, *, lost: int
) -> record_pb2.Record:
    record = record_pb2.Record(
        record_id=new_id(),
        machine_id=machine_id,
        spool_forked=record_pb2.SpoolForked(
            previous_spool_id=previous_spool_id, shared_sequence=shared_sequence, lost_records=lost
        ),
    )
    record.measured_at.GetCurrentTime()
    return record


def _add(
    connection: sqlite3.Connection, content: bytes, *, spooled_at: float, dropped: int, machine_id: str
) -> None:
    last = int(connection.execute("SELECT last_sequence FROM spool").fetchone()[0])
    sequence = last + max(dropped, 1)
    record = record_pb2.Record.FromString(content)
    if record.machine_id != machine_id or dropped:
        record.machine_id = machine_id
        if dropped:
            record.tombstone.first_sequence, record.tombstone.last_sequence = last + 1, sequence
        content = record.SerializeToString()
    connection.execute(
        "INSERT INTO record (sequence, record, spooled_at, dropped) VALUES (?, ?, ?, ?)",
        (sequence, content, spooled_at, dropped),
    )
    connection.execute(
        "UPDATE spool SET last_sequence = ?, record_bytes = record_bytes + ?, dropped = dropped + ?",
        (sequence, len(content), dropped),
    )
