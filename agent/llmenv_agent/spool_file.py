"""The SQLite file of the spool: how it is opened, its tables, and its transactions.

A transaction that has returned is on the disk (`synchronous=FULL`, and on macOS `fullfsync`, since plain
fsync there leaves the data in the drive's cache). A damaged file is never made anew in silence, since it may
hold results that nobody else has: it is set aside, and what can be read of it goes on (spool_salvage.py).
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import sqlite3
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv.ids import new_id

from llmenv_agent import spool_salvage
from llmenv_agent.errors import SpoolError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
UNWRITTEN = {sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY}
IN_MEMORY = Path(":memory:")
"""In place of a file: a spool that ends with its process, for simulated machines alone."""

RECORD_TABLE = (
    """
CREATE TABLE record (
    sequence INTEGER PRIMARY KEY,
    record BLOB NOT NULL,                           -- a serialised llmenv.fleet.v1.Record
    checksum INTEGER NOT NULL,                      -- CRC-32: see spool_rows.py
    digest BLOB,                                    -- chained SHA-256; null until first offered
    spooled_at REAL NOT NULL,                       -- Unix seconds
    is_rejected INTEGER NOT NULL DEFAULT 0,
    dropped INTEGER NOT NULL DEFAULT 0,             -- sequences that this tombstone covers; 0: no tombstone
    has_trials INTEGER NOT NULL DEFAULT 0           -- raw trials, which may go before verdicts do
)
""",
    "CREATE INDEX exceptional_record ON record (sequence) WHERE is_rejected = 1 OR dropped > 0",
    "CREATE INDEX record_with_trials ON record (sequence) WHERE has_trials = 1",
)

TABLES = """
-- One row: the spool's identity and its marks.
CREATE TABLE spool (
    spool_id TEXT NOT NULL,
    machine_id TEXT NOT NULL,
    last_sequence INTEGER NOT NULL DEFAULT 0,       -- highest ever given out
    watermark INTEGER NOT NULL DEFAULT 0,           -- highest that the collector said is durable
    offered INTEGER NOT NULL DEFAULT 0,             -- highest that may have left this machine
    record_bytes INTEGER NOT NULL DEFAULT 0,        -- of all rows of record
    acknowledged_bytes INTEGER NOT NULL DEFAULT 0,  -- of those up to the watermark
    rejected INTEGER NOT NULL DEFAULT 0,            -- records, since the spool began
    dropped INTEGER NOT NULL DEFAULT 0,             -- sequences covered by tombstones, since it began
    acknowledged_at REAL,                           -- Unix seconds of the last acknowledgement
    clock_offset_seconds REAL NOT NULL DEFAULT 0,   -- collector minus machine, as last estimated
    checksum INTEGER NOT NULL DEFAULT 0             -- CRC-32 over both ids
);
CREATE TABLE dead_letter (
    record_id TEXT PRIMARY KEY,
    spool_id TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    reason TEXT NOT NULL,
    record BLOB NOT NULL,
    rejected_at REAL NOT NULL                       -- Unix seconds
);
CREATE TABLE command_seen (
    command_id TEXT PRIMARY KEY,
    seen_at REAL NOT NULL,                          -- Unix seconds
    waiting BLOB                                    -- a serialised llmenv.fleet.v1.Command, until it begins
);
-- What has begun and not ended: see journal.py.
CREATE TABLE unfinished (
    id TEXT PRIMARY KEY,
    kind TEXT NOT NULL CHECK (kind IN ('run', 'check', 'command')),
    run_id TEXT NOT NULL,
    name TEXT NOT NULL,
    began_at REAL NOT NULL                          -- Unix seconds
);
PRAGMA application_id = 0x6C6C6D65;                 -- "llme"
PRAGMA user_version = 1;
"""

SCHEMA = ";".join(("BEGIN IMMEDIATE", *RECORD_TABLE, TABLES, "COMMIT"))


class SpoolFile:
    """One connection behind one lock: threads take turns, and none sees half a transaction.

    The agent itself names its `machine_id`, and makes the file where there is none; others only look.
    """

    def __init__(self, path: Path, *, machine_id: str = "") -> None:
        self.path = path
        self._next = path.with_name(f"{path.name}.next")
        self._lock = threading.RLock()
        with self._translated():
            self._connection = self._open(machine_id)

    def close(self) -> None:
        with self._lock, self._translated():
            self._connection.close()

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Commits at the end, durably; rolls back when the body raises."""
        with self._lock, self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._translated():
            yield self._connection

    def _open(self, machine_id: str) -> sqlite3.Connection:
        if self.path == IN_MEMORY:
            connection = _connect(self.path)
            _make(connection, machine_id)
            return connection
        try:
            if not machine_id:
                return self._checked()
            self._find_or_make(machine_id)
            return self._checked(appends=True)
        except spool_salvage.UNREADABLE as error:
            if not machine_id or not spool_salvage.is_damage(error):
                raise
            return self._begin_anew(machine_id, str(error).partition("\n")[0])

    def _find_or_make(self, machine_id: str) -> None:
        if _has_content(self.path):
            os.close(os.open(self.path, os.O_RDWR))  # SQLite would do without until it writes
            self._next.unlink(missing_ok=True)
            return
        if not self._next.exists():
            self._make_next(machine_id)
        if _has_content(self.path.with_name(f"{self.path.name}-wal")):  # it would be played into the new file
            aside = spool_salvage.set_aside(self.path)
            log.error("the spool %s was gone, but not its log, which is kept as %s-wal", self.path, aside)
        self._next.replace(self.path)

    def _make_next(self, machine_id: str, *, damaged: Path | None = None) -> int | None:
        """Whole before it has its name: who looks meanwhile finds none, and never half of one.

        Returns how many records were salvaged, None where nothing could be.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part = self.path.with_name(f"{self.path.name}.part")
        for ending in ("", "-journal", *spool_salvage.LOGS):
            part.with_name(part.name + ending).unlink(missing_ok=True)
        os.close(os.open(part, os.O_CREAT | os.O_RDWR, 0o600))
        with contextlib.closing(_connect(part)) as connection:
            _make(connection, machine_id)
            taken = spool_salvage.salvage(damaged, connection) if damaged else None
            _keep_log(connection)
        part.replace(self._next)
        return taken

    def _begin_anew(self, machine_id: str, problem: str) -> sqlite3.Connection:
        """The damaged file keeps what it has; only the agent itself comes here, never one that looks.

        It has its name until all that can be read of it is in the next one: who is killed begins again.
        """
        taken = self._make_next(machine_id, damaged=self.path)
        aside = spool_salvage.set_aside(self.path)
        self._next.replace(self.path)
        outcome = "a new spool begins, and what was not delivered is in that file alone"
        if taken is not None:
            outcome = (
                f"{taken} records of it go on, and a tombstone stands for any other that was not delivered"
            )
        log.error("the spool %s was damaged (%s); it is kept as %s: %s", self.path, problem, aside, outcome)
        return self._checked(appends=True)

    def _checked(self, *, appends: bool = False) -> sqlite3.Connection:
        """Who appends learns at once that a header forbids it, and waits for no reader whatever it says."""
        connection = _connect(self.path)
        try:
            _set_durable(connection)
            with _at_one_moment(connection):
                self._check(connection)
                if appends:
                    _require_writable(connection)
            if appends:
                _keep_log(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version > SCHEMA_VERSION:
            raise SpoolError(
                f"The spool {self.path} was written by a newer llmenv-agent (its version is {version}, "
                f"this program knows {SCHEMA_VERSION}); install the newer one again."
            )
        if version != SCHEMA_VERSION or _schema(connection) != _expected_schema():
            raise sqlite3.DatabaseError("its tables are not those that were made")
        spool_salvage.require_sound(connection)

    def _obstacle(self, error: sqlite3.OperationalError) -> str:
        """In the words of whoever can do something about it."""
        folder, code = self.path.parent, getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code not in UNWRITTEN or os.access(folder, os.W_OK):
            return str(error)
        return (
            f"SQLite writes beside a spool that is read, and {folder} cannot be written here; "
            "ask as the user whose it is, or make its disk writable"
        )

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            raise SpoolError(f"The spool {self.path} cannot be used: {self._obstacle(error)}.") from error
        except spool_salvage.UNREADABLE as error:
            raise SpoolError(
                f"The spool {self.path} is damaged ({error}): when the agent starts the next time it sets "
                f"the file aside and goes on with what can be read of it."
            ) from error
        except OSError as error:
            raise SpoolError(f"The spool {self.path} cannot be opened: {error.strerror}.") from error


def _has_content(path: Path) -> bool:
    """Not so where there is no file, nor where a full disk left an empty one."""
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _connect(path: Path) -> sqlite3.Connection:
    """Raises sqlite3.OperationalError where there is no file: it is not for SQLite to make one."""
    name = ":memory:" if path == IN_MEMORY else f"{path.absolute().as_uri()}?mode=rw"
    connection = sqlite3.connect(name, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    connection.row_factory = sqlite3.Row
    connection.text_factory = spool_salvage.lenient
    return connection


def _make(connection: sqlite3.Connection, machine_id: str) -> None:
    """Without a log: closing one on a full disk leaves in it what the file lacks, and says nothing."""
    _set_durable(connection)
    connection.executescript(SCHEMA)
    spool_id = new_id()
    checksum = spool_salvage.identity_checksum(spool_id, machine_id)
    connection.execute(
        "INSERT INTO spool (spool_id, machine_id, checksum) VALUES (?, ?, ?)",
        (spool_id, machine_id, checksum),
    )


def _require_writable(connection: sqlite3.Connection) -> None:
    """Raises sqlite3.OperationalError for a header that forbids it, of which BEGIN says nothing.

    Within a transaction that is taken back: nothing reaches the disk.
    """
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _keep_log(connection: sqlite3.Connection) -> None:
    """Appending and reading do not wait for one another; kept in the file's header."""
    connection.execute("PRAGMA journal_mode=WAL")


def _set_durable(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA fullfsync=1")
    connection.execute("PRAGMA checkpoint_fullfsync=1")


@contextlib.contextmanager
def _at_one_moment(connection: sqlite3.Connection) -> Iterator[None]:
    """What is read within is of one commit, whatever another process appends meanwhile."""
    connection.execute("BEGIN")
    try:
        yield
    finally:
        if connection.in_transaction:  # damage may have ended it
            connection.execute("ROLLBACK")


def _schema(connection: sqlite3.Connection) -> list[tuple[str, ...]]:
    rows = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY name").fetchall()
    return [tuple(row) for row in rows]


@functools.cache
def _expected_schema() -> list[tuple[str, ...]]:
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.executescript(SCHEMA)
        return _schema(connection)
