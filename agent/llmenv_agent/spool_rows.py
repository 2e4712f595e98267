"""Rows of the table `record`, each with a checksum over its number, what it covers and its bytes.

SQLite does not notice a byte that a disk returns wrong inside a record. Here it is noticed when the record is
about to leave, and a tombstone with the reason goes in its place.
"""

from __future__ import annotations

import time
import zlib
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

DAMAGED = "the record was damaged on the disk of the machine"
MISSING = "records were missing from the damaged spool of the machine"


def checksum(sequence: int, covers: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(b"%d:%d" % (sequence, covers)))


def is_whole(row: sqlite3.Row) -> bool:
    """Of a row with sequence, dropped, record and checksum: whether it is what was written."""
    content, covers = row["record"], row["dropped"]
    is_typed = isinstance(content, bytes) and isinstance(covers, int)
    return is_typed and bool(row["checksum"] == checksum(row["sequence"], covers, content))


def insert(
    connection: sqlite3.Connection,
    sequence: int,
    content: bytes,
    *,
    spooled_at: float,
    covers: int = 0,
    has_trials: bool = False,
) -> None:
    """`covers` is the count of sequences of a tombstone; 0 for any other record."""
    insert_all(connection, [(sequence, content, has_trials)], spooled_at=spooled_at, covers=covers)


def insert_all(
    connection: sqlite3.Connection,
    rows: Sequence[tuple[int, bytes, bool]],
    *,
    spooled_at: float,
    covers: int = 0,
) -> None:
    """Of each record its sequence, its content, and whether it has raw trials."""
    connection.executemany(
        "INSERT INTO record (sequence, record, checksum, spooled_at, dropped, has_trials)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [
            (sequence, content, checksum(sequence, covers, content), spooled_at, covers, has_trials)
            for sequence, content, has_trials in rows
        ],
    )
    size = sum(len(content) for _, content, _ in rows)
    connection.execute("UPDATE spool SET record_bytes = record_bytes + ?", (size,))


def replace(connection: sqlite3.Connection, sequence: int, content: bytes, *, covers: int = 0) -> None:
    """Other bytes under the same number, which must not have left this machine; its trials are gone."""
    connection.execute(
        "UPDATE spool SET record_bytes = record_bytes + ? -"
        " (SELECT length(record) FROM record WHERE sequence = ?)",
        (len(content), sequence),
    )
    connection.execute(
        "UPDATE record SET record = ?, checksum = ?, dropped = ?, digest = NULL, has_trials = 0"
        " WHERE sequence = ?",
        (content, checksum(sequence, covers, content), covers, sequence),
    )


def delete(connection: sqlite3.Connection, sequence: int, size: int) -> None:
    connection.execute("DELETE FROM record WHERE sequence = ?", (sequence,))
    connection.execute("UPDATE spool SET record_bytes = record_bytes - ?", (size,))


def after(
    connection: sqlite3.Connection, sequence: int, *, max_records: int, max_bytes: int
) -> list[tuple[int, bytes]]:
    """The next records in order, whole: at least one where there is one, else within both limits."""
    chosen: list[tuple[int, bytes]] = []
    size = 0
    rows = connection.execute(
        "SELECT sequence, record, checksum, dropped, is_rejected FROM record WHERE sequence > ?"
        " ORDER BY sequence LIMIT ?",
        (sequence, max_records),
    ).fetchall()
    for number, content in _whole(connection, rows, sequence):
        size += len(content)
        if chosen and size > max_bytes:
            break
        chosen.append((number, content))
    return chosen


def _whole(
    connection: sqlite3.Connection, rows: list[sqlite3.Row], sequence: int
) -> Iterator[tuple[int, bytes]]:
    """The rows with tombstones in place of what is damaged, and before what is missing."""
    for row in rows:
        number, covers, content = row["sequence"], row["dropped"], row["record"]
        if not is_whole(row):
            content, covers = _bury(connection, row, number - sequence), number - sequence
        elif (missing := number - max(covers, 1) - sequence) > 0:
            yield sequence + missing, stand_in(connection, sequence + missing, missing)
        yield number, content
        sequence = number


def _bury(connection: sqlite3.Connection, row: sqlite3.Row, covers: int) -> bytes:
    """A damaged row says nothing that can be relied on, so all up to its number counts as dropped."""
    number = row["sequence"]
    content = _tombstone(connection, number, covers, reason=DAMAGED).SerializeToString()
    replace(connection, number, content, covers=covers)
    connection.execute("UPDATE record SET is_rejected = 0 WHERE sequence = ?", (number,))
    newly = covers - (row["dropped"] if 0 < row["dropped"] <= covers else 0)
    connection.execute(
        "UPDATE spool SET dropped = dropped + ?, rejected = rejected - ?",
        (newly, 1 if row["is_rejected"] == 1 else 0),
    )
    return content


def stand_in(connection: sqlite3.Connection, number: int, covers: int) -> bytes:
    """A tombstone for `covers` sequences up to `number`, of which nothing is held."""
    content = _tombstone(connection, number, covers, reason=MISSING).SerializeToString()
    insert(connection, number, content, spooled_at=time.time(), covers=covers)
    connection.execute("UPDATE spool SET dropped = dropped + ?", (covers,))
    return content


def _tombstone(connection: sqlite3.Connection, last: int, covers: int, *, reason: str) -> record_pb2.Record:
    machine_id = str(connection.execute("SELECT machine_id FROM spool").fetchone()[0])
    return tombstone(last - covers + 1, last, reason=reason, machine_id=machine_id)


def tombstone(first: int, last: int, *, reason: str, machine_id: str) -> record_pb2.Record:
    """A record that stands for the sequences `first` to `last`."""
    record = record_pb2.Record(
        record_id=new_id(),
        machine_id=machine_id,
        tombstone=record_pb2.Tombstone(
            first_sequence=first, last_sequence=last, dropped_records=last - first + 1, reason=reason
        ),
    )
    record.measured_at.GetCurrentTime()
    return record
