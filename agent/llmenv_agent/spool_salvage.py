"""A spool file that cannot be used is set aside whole, and what can be read of it goes on in a new one.

The new file is the same spool while the ids in the old one can be relied on: records keep their numbers, and
where one cannot be read a tombstone says so when it is its turn. Without those ids a new spool begins;
records that were not delivered are then in the file that was set aside, and nowhere else.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import zlib
from typing import TYPE_CHECKING

from llmenv_agent import spool_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOGS = ("-wal", "-shm")
# A changed byte may also be in a name, or in what SQLite quotes of one.
UNREADABLE = (sqlite3.DatabaseError, UnicodeError, IndexError)
# Read-only is what a header says that was changed: whoever may not write has failed before.
DAMAGE_CODES = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_ERROR,
    sqlite3.SQLITE_READONLY,
    None,
}
COMPANIONS = {
    "dead_letter": "record_id, spool_id, sequence, reason, record, rejected_at",
    "command_seen": "command_id, seen_at, waiting",
    "unfinished": "id, kind, run_id, name, began_at",
}


def identity_checksum(spool_id: str, machine_id: str) -> int:
    return zlib.crc32(f"{spool_id}\n{machine_id}".encode())


def is_damage(error: Exception) -> bool:
    """Whether the file itself is at fault, and not its disk, its owner or another process."""
    return getattr(error, "sqlite_errorcode", None) in DAMAGE_CODES


def require_sound(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.DatabaseError for a file in which pages, indexes or marks contradict one another.

    Not `quick_check`, which leaves indexes out: a row that is missing in one can be read, and ends the
    process that changes it.
    """
    problem = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problem != "ok":
        raise sqlite3.DatabaseError(problem)
    spool = _only_row(connection)
    last = connection.execute("SELECT ifnull(max(sequence), 0) FROM record").fetchone()[0]
    if not _are_plausible(spool) or max(last, spool["watermark"]) != spool["last_sequence"]:
        raise sqlite3.DatabaseError("its marks contradict its records")


def lenient(content: bytes) -> str:
    """A text of a file that may be damaged."""
    return content.decode("utf-8", "replace")


def set_aside(path: Path) -> Path:
    """The file under another name, with its log; returns that name."""
    aside = path.with_name(
        f"{path.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 1_000_000}"
    )
    for ending in ("", *LOGS):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + ending).rename(aside.with_name(aside.name + ending))
    return aside


def salvage(aside: Path, into: sqlite3.Connection) -> int | None:
    """Records taken over, a count, in one transaction; None when nothing of the file can be relied on.

    Raises sqlite3.OperationalError where there is no room for them.
    """
    with contextlib.closing(sqlite3.connect(aside)) as damaged:
        damaged.row_factory = sqlite3.Row
        damaged.text_factory = lenient
        into.execute("BEGIN IMMEDIATE")
        try:
            taken = _salvage(damaged, into)
        except UNREADABLE as error:
            if into.in_transaction:  # a full disk has ended it
                into.execute("ROLLBACK")
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise
            return None
        into.execute("COMMIT")
        return taken


def _salvage(damaged: sqlite3.Connection, into: sqlite3.Connection) -> int:
    spool = _only_row(damaged)
    if not _are_plausible(spool):
        raise sqlite3.DatabaseError("its marks cannot be relied on")
    _take_marks(into, spool)
    taken = sum(_take(into, row) for row in _readable(damaged, spool["last_sequence"]))
    _close_tail(into)
    for table, columns in COMPANIONS.items():
        _take_table(damaged, into, table, columns)
    return taken


def _only_row(connection: sqlite3.Connection) -> sqlite3.Row:
    """The spool's ids and marks.  Raises sqlite3.DatabaseError where they are not one row as it was written.

    A changed byte can make a page of another table, or of no rows, stand in the place of this one.
    """
    rows: list[sqlite3.Row] = connection.execute("SELECT * FROM spool LIMIT 2").fetchall()
    if len(rows) != 1:
        raise sqlite3.DatabaseError("its ids and marks are not one row")
    (spool,) = rows
    if spool["checksum"] != identity_checksum(spool["spool_id"], spool["machine_id"]):
        raise sqlite3.DatabaseError("its ids are not those that were written")
    return spool


def _are_plausible(spool: sqlite3.Row) -> bool:
    marks = [spool[name] for name in ("watermark", "offered", "rejected", "dropped", "last_sequence")]
    return all(isinstance(mark, int) for mark in marks) and min(marks) >= 0 and max(marks) == marks[-1]


def _take_marks(into: sqlite3.Connection, spool: sqlite3.Row) -> None:
    names = ("spool_id", "machine_id", "checksum", "last_sequence", "watermark", "rejected", "dropped")
    into.execute(
        f"UPDATE spool SET {', '.join(f'{name} = ?' for name in names)}",  # noqa: S608 # our own names
        [spool[name] for name in names],
    )


def _readable(damaged: sqlite3.Connection, last: int) -> Iterator[sqlite3.Row]:
    """Row by row, around pages that cannot be read."""
    sequence = 0
    while sequence < last:
        try:
            row = damaged.execute(
                "SELECT * FROM record WHERE sequence > ? ORDER BY sequence LIMIT 1", (sequence,)
            ).fetchone()
        except UNREADABLE:
            sequence += 1
            row = _one(damaged, sequence)
        else:
            if row is None or row["sequence"] > last:
                return
            sequence = row["sequence"]
        if row is not None:
            yield row


def _one(damaged: sqlite3.Connection, sequence: int) -> sqlite3.Row | None:
    with contextlib.suppress(*UNREADABLE):
        row: sqlite3.Row | None = damaged.execute(
            "SELECT * FROM record WHERE sequence = ?", (sequence,)
        ).fetchone()
        return row
    return None


def _take(into: sqlite3.Connection, row: sqlite3.Row) -> bool:
    """Whether the row is what was written, and was taken over."""
    if not spool_rows.is_whole(row):
        return False
    spool_rows.insert(
        into, row["sequence"], row["record"], spooled_at=row["spooled_at"], covers=row["dropped"]
    )
    into.execute(
        "UPDATE record SET digest = ?, is_rejected = ? WHERE sequence = ?",
        (row["digest"], 1 if row["is_rejected"] == 1 else 0, row["sequence"]),
    )
    return True


def _close_tail(into: sqlite3.Connection) -> None:
    """Nothing follows the last readable record, so nothing would tell that more was there."""
    last, watermark, readable = into.execute(
        "SELECT last_sequence, watermark, ifnull((SELECT max(sequence) FROM record), 0) FROM spool"
    ).fetchone()
    if (missing := last - max(watermark, readable)) > 0:
        spool_rows.stand_in(into, last, missing)
    into.execute(
        "UPDATE spool SET acknowledged_bytes ="
        " (SELECT ifnull(sum(length(record)), 0) FROM record WHERE sequence <= watermark)"
    )


def _take_table(damaged: sqlite3.Connection, into: sqlite3.Connection, table: str, columns: str) -> None:
    with contextlib.suppress(*UNREADABLE):
        rows = damaged.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608 # our own names
        places = ", ".join("?" for _ in columns.split(","))
        into.executemany(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608
