"""Who may talk to this collector: one small SQLite file beside the measurements.

It is a file of its own so that a restored backup of the measurements never
brings a used token or a revoked machine back, and so that `token create` works
while a collector serves.  Every change leaves a row in `audit`.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import DataFolderError, ForbiddenError, NotFoundError, UsageError
from llmenv_collector.identity.acting import actor
from llmenv_collector.identity.identity_schema import SCHEMA_VERSION, bring_forward
from llmenv_collector.identity.standing import BARRED, Standing, State
from llmenv_collector.storage.data_folder import PUT_BACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from llmenv_collector.identity.authority import MachineCertificate


@dataclass(frozen=True)
class EnrolledMachine:
    """Times are microseconds since 1970."""

    machine_id: str
    hostname: str
    """What people call it, else what it said at enrolment."""
    enrolled_at: int
    approved_at: int | None
    """None while it waits for approval."""
    retired_at: int | None
    revoked_at: int | None
    forgotten_at: int | None

    @property
    def state(self) -> State:
        if self.forgotten_at is not None:
            return State.FORGOTTEN
        if self.revoked_at is not None:
            return State.REVOKED
        if self.retired_at is not None:
            return State.RETIRED
        return State.ENROLLED if self.approved_at is not None else State.PENDING


MACHINES = """
SELECT machine_id, coalesce(nullif(name, ''), hostname), enrolled_at, approved_at, retired_at, revoked_at,
       forgotten_at
FROM machine
"""


class Identity:
    """Opens the file anew for each call: any thread and any process may use it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._lasting: sqlite3.Connection | None = None

    @classmethod
    def create(cls, path: Path) -> Identity:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            path.chmod(0o600)
            connection.execute("PRAGMA journal_mode=WAL")
            bring_forward(connection)
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
        if version < SCHEMA_VERSION:
            bring_forward(connection)
        if version > SCHEMA_VERSION:
            raise DataFolderError(
                f"{self._path} has version {version} and this collector reads {SCHEMA_VERSION}: upgrade it."
            )

    @contextmanager
    def followed(self) -> Iterator[Callable[[], int]]:
        """What gives another number whenever another program or call has changed anything in the file."""
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, check_same_thread=False)
        # Whoever ends this need not wait for a thread that is asking: SQLite would crash the process.
        turn = threading.Lock()

        def version() -> int:
            with turn:
                return int(connection.execute("PRAGMA data_version").fetchone()[0])

        try:
            yield version
        finally:
            with turn:
                connection.close()

    def machines(self) -> list[EnrolledMachine]:
        """Sorted by the time of enrolment; without those that were forgotten."""
        return [one for one in self.every_machine() if one.state is not State.FORGOTTEN]

    def every_machine(self) -> list[EnrolledMachine]:
        with self.reading() as connection:
            rows = connection.execute(f"{MACHINES} ORDER BY enrolled_at")
            return [EnrolledMachine(*row) for row in rows]

    def standing(self) -> Standing:
        """As it is now."""
        by_state: dict[State, set[str]] = {state: set() for state in State}
        for one in self.every_machine():
            by_state[one.state].add(one.machine_id)
        return Standing(
            barred=frozenset(by_state[State.REVOKED] | by_state[State.FORGOTTEN]),
            pending=frozenset(by_state[State.PENDING]),
            retired=frozenset(by_state[State.RETIRED]),
        )

    @contextmanager
    def _asking(self) -> Iterator[sqlite3.Connection]:
        """For one row: the connection stays open, since a fleet that comes back asks for ten thousand."""
        with self._lock:
            try:
                if self._lasting is None:
                    self._lasting = sqlite3.connect(
                        f"file:{self._path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
                    )
                    self._require_version(self._lasting)
                yield self._lasting
            except sqlite3.DatabaseError as error:
                self._lasting = None
                raise DataFolderError(f"{self._path} cannot be used: {error}.") from error

    def admit(self, machine_id: str) -> State:
        """A machine that shows a certificate of ours: pending or enrolled.  Raises ForbiddenError for others.

        One that this file does not know, since it is an older copy, is entered again: only our CA
        could have certified it.
        """
        with self._asking() as connection:
            state = standing_of(connection, machine_id)
        if state is None:
            with self.changes() as connection:
                enter(connection, machine_id)
        return state or State.ENROLLED

    def note_trust(self, pins: Mapping[str, str]) -> None:
        """By machine.  Written only where it is something else than before."""
        with self._asking() as connection:
            changed = [(new, one) for one, new in pins.items() if trusted_pins_of(connection, one) != new]
        if changed:
            with self.changes() as connection:
                statement = "UPDATE machine SET trusted_pins = ? WHERE machine_id = ?"
                connection.executemany(statement, changed)

    def renewed(self, machine_id: str, certificate: MachineCertificate, *, replaces: str) -> None:
        """Notes the next certificate of a machine.  Raises ForbiddenError for a revoked one."""
        with self.changes() as connection:
            if standing_of(connection, machine_id) is None:
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


def trusted_pins_of(connection: sqlite3.Connection, machine_id: str) -> str:
    """Empty where the machine has said nothing, or is not known."""
    query = "SELECT trusted_pins FROM machine WHERE machine_id = ?"
    row = connection.execute(query, (machine_id,)).fetchone()
    return str(row[0]) if row else ""


def standing_of(connection: sqlite3.Connection, machine_id: str) -> State | None:
    """None for a machine that is not known.  Raises ForbiddenError for one that may not deliver."""
    row = connection.execute(f"{MACHINES} WHERE machine_id = ?", (machine_id,)).fetchone()
    if row is None:
        return None
    state = EnrolledMachine(*row).state
    if state in BARRED:
        raise ForbiddenError(BARRED[state].format(machine_id=machine_id))
    return state


def enter(connection: sqlite3.Connection, machine_id: str) -> None:
    """By its certificate alone; another call may have been faster."""
    now = clock.now()
    new = connection.execute(
        "INSERT OR IGNORE INTO machine (machine_id, hostname, enrolled_at, approved_at) VALUES (?, '', ?, ?)",
        (machine_id, now, now),
    ).rowcount
    if new:
        audit(connection, "machine.readmit", machine_id, "by a certificate of this CA")


def add_certificate(connection: sqlite3.Connection, machine_id: str, certificate: MachineCertificate) -> None:
    ends = int(certificate.not_after.timestamp()) * clock.MICROSECONDS
    connection.execute(
        "INSERT INTO certificate VALUES (?, ?, ?, ?)", (certificate.serial, machine_id, clock.now(), ends)
    )


def audit(
    connection: sqlite3.Connection, action: str, subject: str, detail: str, *, is_refused: bool = False
) -> None:
    """One row, in the transaction of the change that it tells of."""
    by = actor()
    connection.execute(
        "INSERT INTO audit (happened_at, action, subject, detail, actor, origin, outcome)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (clock.now(), action, subject, detail, by.name, by.origin, "refused" if is_refused else "done"),
    )
