"""Who may talk to this collector: one small SQLite file beside the measurements.

It is a file of its own so that a restored backup of the measurements never
brings a used token or a revoked machine back, and so that `token create` works
while a collector serves.  Every change leaves a row in `audit`.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import DataFolderError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCHEMA_VERSION = 1
SCHEMA = """
CREATE TABLE token (
  token_id TEXT PRIMARY KEY,
  role TEXT NOT NULL,              -- enrolment, viewer, analyst or admin
  label TEXT NOT NULL,
  secret_hash BLOB NOT NULL UNIQUE,-- SHA-256; the secret itself is kept nowhere
  created_at INTEGER NOT NULL,     -- all times: microseconds since 1970
  expires_at INTEGER NOT NULL,
  used_at INTEGER,                 -- enrolment only
  revoked_at INTEGER
) STRICT;
CREATE TABLE machine (
  machine_id TEXT PRIMARY KEY,
  hostname TEXT NOT NULL,          -- at enrolment
  enrolled_at INTEGER NOT NULL,
  revoked_at INTEGER
) STRICT;
CREATE TABLE certificate (
  serial TEXT PRIMARY KEY,         -- hexadecimal
  machine_id TEXT NOT NULL REFERENCES machine,
  issued_at INTEGER NOT NULL,
  not_after INTEGER NOT NULL
) STRICT;
CREATE TABLE machine_label (       -- what people say of a machine
  machine_id TEXT NOT NULL REFERENCES machine,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (machine_id, key)
) STRICT;
CREATE TABLE audit (
  happened_at INTEGER NOT NULL,
  action TEXT NOT NULL,            -- such as token.create, machine.enrol
  subject TEXT NOT NULL,           -- id of the token, machine, command or batch
  detail TEXT NOT NULL
) STRICT;
"""


@dataclass(frozen=True)
class EnrolledMachine:
    """Times are microseconds since 1970."""

    machine_id: str
    hostname: str
    enrolled_at: int
    revoked_at: int | None


class Identity:
    """Opens the file anew for each call: any thread and any process may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def create(cls, path: Path) -> Identity:
        with closing(sqlite3.connect(path)) as connection:
            path.chmod(0o600)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.executescript(f"BEGIN;{SCHEMA} PRAGMA user_version={SCHEMA_VERSION}; COMMIT;")
        return cls(path)

    @contextmanager
    def changes(self) -> Iterator[sqlite3.Connection]:
        """One transaction that has the file for itself; all of it or nothing."""
        with self._open() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._open() as connection:
            yield connection

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(
                sqlite3.connect(f"file:{self._path}?mode=rw", uri=True, isolation_level=None)
            ) as connection:
                connection.execute("PRAGMA synchronous=FULL")
                connection.execute("PRAGMA foreign_keys=ON")
                self._require_version(connection)
                yield connection
        except sqlite3.DatabaseError as error:
            raise DataFolderError(f"{self._path} cannot be used: {error}.") from error

    def _require_version(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != SCHEMA_VERSION:
            raise DataFolderError(
                f"{self._path} has version {version} and this collector reads {SCHEMA_VERSION}: upgrade it."
            )

    def machines(self) -> list[EnrolledMachine]:
        """Sorted by the time of enrolment."""
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT machine_id, hostname, enrolled_at, revoked_at FROM machine ORDER BY enrolled_at"
            )
            return [EnrolledMachine(*row) for row in rows]

    def may_connect(self, machine_id: str) -> bool:
        """Enrolled, and not revoked."""
        query = "SELECT 1 FROM machine WHERE machine_id = ? AND revoked_at IS NULL"
        with self.reading() as connection:
            return connection.execute(query, (machine_id,)).fetchone() is not None

    def revoke_machine(self, machine: str) -> EnrolledMachine:
        """By id, a unique prefix of it, or the hostname."""
        found = self.find_machine(machine)
        with self.changes() as connection:
            connection.execute(
                "UPDATE machine SET revoked_at = ? WHERE machine_id = ? AND revoked_at IS NULL",
                (clock.now(), found.machine_id),
            )
            audit(connection, "machine.revoke", found.machine_id, found.hostname)
        return found

    def find_machine(self, machine: str) -> EnrolledMachine:
        """By id, a unique prefix of it, or the hostname.  Raises NotFoundError, or UsageError for several."""
        known = self.machines()
        # An id before any hostname: a machine says its hostname itself, and may say another one's id.
        matches = [one for one in known if machine == one.machine_id]
        matches = matches or [one for one in known if machine == one.hostname]
        matches = matches or [
            one for one in known if len(machine) >= 8 and one.machine_id.startswith(machine)
        ]
        if not matches:
            raise NotFoundError(f"No machine is called {machine!r}: see `llmenv-collector machine list`.")
        if len(matches) > 1:
            raise UsageError(f"{machine!r} names {len(matches)} machines: give the machine's id.")
        return matches[0]


def audit(connection: sqlite3.Connection, action: str, subject: str, detail: str) -> None:
    """One row, in the transaction of the change that it tells of."""
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", (clock.now(), action, subject, detail))
