"""A spool that was copied (clone, Time Machine, Migration Assistant) goes on under a name of its own.

Records keep their UUIDs and are numbered anew from 1; the first record says what it continues. A million
records are moved without more memory than a few of them take.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id

from llmenv_agent import record_size, spool_rows
from llmenv_agent.spool_file import RECORD_TABLE
from llmenv_agent.spool_salvage import identity_checksum

if TYPE_CHECKING:
    import sqlite3


def fork(connection: sqlite3.Connection, *, shared_sequence: int, machine_id: str | None = None) -> str:
    """Within the caller's transaction; returns the new spool id.

    Dead letters have had their verdict and stay behind. `machine_id` moves the records to a new identity.
    """
    spool = connection.execute("SELECT spool_id, machine_id FROM spool").fetchone()
    machine_id = machine_id or str(spool["machine_id"])
    first = _fork_record(
        str(spool["spool_id"]), shared_sequence, machine_id, lost=_lost_after(connection, shared_sequence)
    )
    spool_id = new_id()
    connection.execute(
        "UPDATE spool SET spool_id = ?, machine_id = ?, checksum = ?, last_sequence = 0, watermark = 0,"
        " offered = 0, record_bytes = 0, acknowledged_bytes = 0, rejected = 0, dropped = 0",
        (spool_id, machine_id, identity_checksum(spool_id, machine_id)),
    )
    connection.execute("ALTER TABLE record RENAME TO former_record")
    for statement in ("DROP INDEX exceptional_record", "DROP INDEX record_with_trials", *RECORD_TABLE):
        connection.execute(statement)
    _renumber(connection, first, shared_sequence)
    connection.execute("DROP TABLE former_record")
    return spool_id


def _renumber(connection: sqlite3.Connection, first: record_pb2.Record, shared_sequence: int) -> None:
    """What may be unsent, after `first`; a damaged record stays behind as a tombstone."""
    spool_rows.insert(connection, 1, first.SerializeToString(), spooled_at=time.time())
    last = 1
    dropped = 0
    cursor = connection.execute(
        "SELECT sequence, record, checksum, dropped, spooled_at FROM former_record"
        " WHERE sequence > ? AND is_rejected = 0 ORDER BY sequence",
        (shared_sequence,),
    )
    for row in cursor:
        record, covers = _moved(row, last, first.machine_id)
        last += max(covers, 1)
        dropped += covers
        spool_rows.insert(
            connection,
            last,
            record.SerializeToString(),
            spooled_at=row["spooled_at"],
            covers=covers,
            has_trials=record_size.has_trials(record),
        )
    connection.execute("UPDATE spool SET last_sequence = ?, dropped = ?", (last, dropped))


def _moved(row: sqlite3.Row, last: int, machine_id: str) -> tuple[record_pb2.Record, int]:
    """The record under its new number, and how many sequences it covers as a tombstone."""
    if not spool_rows.is_whole(row):
        return spool_rows.tombstone(last + 1, last + 1, reason=spool_rows.DAMAGED, machine_id=machine_id), 1
    record = record_pb2.Record.FromString(row["record"])
    record.machine_id = machine_id
    covers = int(row["dropped"])
    if covers:
        record.tombstone.first_sequence, record.tombstone.last_sequence = last + 1, last + covers
    return record, covers


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
