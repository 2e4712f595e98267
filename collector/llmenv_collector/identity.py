"""Who may talk to this collector: one small SQLite file beside the measurements.

It is a file of its own so that a restored backup of the measurements never
brings a used token or a revoked machine back, and so that `token create` works
while a collector serves.  Every change leaves a row in `audit`.  What was used or
revoked stays so, and no row goes: the file itself refuses it.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.data_folder import PUT_BACK
from llmenv_collector.errors import DataFolderError, ForbiddenError, NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_collector.authority import MachineCertificate

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
  revoked_at INTEGER,
  machine_id TEXT REFERENCES machine -- that enrols again with it; NULL for a new one
) STRICT;
CREATE TABLE machine (
  machine_id TEXT PRIMARY KEY,
  hostname TEXT NOT NULL,          -- at enrolment; empty when it was admitted by its certificate
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
CREATE TRIGGER tokens_stay BEFORE DELETE ON token BEGIN SELECT RAISE(ABORT, 'tokens stay'); END;
CREATE TRIGGER machines_stay BEFORE DELETE ON machine BEGIN SELECT RAISE(ABORT, 'machines stay'); END;
CREATE TRIGGER audit_stays BEFORE DELETE ON audit BEGIN SELECT RAISE(ABORT, 'audit stays'); END;
CREATE TRIGGER audit_stands BEFORE UPDATE ON audit BEGIN SELECT RAISE(ABORT, 'audit stands'); END;
CREATE TRIGGER used_stays_used BEFORE UPDATE ON token
WHEN old.used_at IS NOT NULL AND new.used_at IS NOT old.used_at
BEGIN SELECT RAISE(ABORT, 'a used token stays used'); END;
CREATE TRIGGER revoked_token_stays_revoked BEFORE UPDATE ON token
WHEN old.revoked_at IS NOT NULL AND new.revoked_at IS NOT old.revoked_at
BEGIN SELECT RAISE(ABORT, 'a revoked token stays revoked'); END;
CREATE TRIGGER revoked_machine_stays_revoked BEFORE UPDATE ON machine
WHEN old.revoked_at IS NOT NULL AND new.revoked_at IS NOT old.revoked_at
BEGIN SELECT RAISE(ABORT, 'a revoked machine stays revoked'); END;
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
        if version == 0:  # an empty file is a database to SQLite
            raise DataFolderError(f"{self._path} is no collector's, or was emptied: {PUT_BACK}.")
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

    def admit(self, machine_id: str) -> None:
        """A machine that shows a certificate of ours.  Raises ForbiddenError for a revoked one.

        One that this file does not know, since it is an older copy, is entered again: only our CA
        could have certified it.
        """
        with self.reading() as connection:
            if is_standing(connection, machine_id):
                return
        with self.changes() as connection:
            enter(connection, machine_id)

    def renewed(self, machine_id: str, certificate: MachineCertificate, *, replaces: str) -> None:
        """Notes the next certificate of a machine.  Raises ForbiddenError for a revoked one."""
        with self.changes() as connection:
            if not is_standing(connection, machine_id):
                enter(connection, machine_id)
            add_certificate(connection, machine_id, certificate)
            audit(
                connection, "machine.renew", machine_id, f"certificate {certificate.serial} after {replaces}"
            )

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


def is_standing(connection: sqlite3.Connection, machine_id: str) -> bool:
    """False for a machine that is not known.  Raises ForbiddenError for a revoked one."""
    row = connection.execute("SELECT revoked_at FROM machine WHERE machine_id = ?", (machine_id,)).fetchone()
    if row is not None and row[0] is not None:
        raise ForbiddenError(f"Machine {machine_id} was revoked.")
    return row is not None


def enter(connection: sqlite3.Connection, machine_id: str) -> None:
    """By its certificate alone; another call may have been faster."""
    new = connection.execute(
        "INSERT OR IGNORE INTO machine VALUES (?, '', ?, NULL)", (machine_id, clock.now())
    ).rowcount
    if new:
        audit(connection, "machine.readmit", machine_id, "by a certificate of this CA")


def add_certificate(connection: sqlite3.Connection, machine_id: str, certificate: MachineCertificate) -> None:
    ends = int(certificate.not_after.timestamp()) * clock.MICROSECONDS
    connection.execute(
        "INSERT INTO certificate VALUES (?, ?, ?, ?)", (certificate.serial, machine_id, clock.now(), ends)
    )


def audit(connection: sqlite3.Connection, action: str, subject: str, detail: str) -> None:
    """One row, in the transaction of the change that it tells of."""
    connection.execute("INSERT INTO audit VALUES (?, ?, ?, ?)", (clock.now(), action, subject, detail))
