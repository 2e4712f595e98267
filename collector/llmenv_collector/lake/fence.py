"""What PostgreSQL keeps beside DuckLake's own tables: watermarks with a key, turns, and locks.

Everything that makes delivery exactly-once on a lake is here and in fence.sql: a group's rows become visible
only in the transaction of PostgreSQL that moves its watermarks, and only from where its writer found them.
Locks spare writers work that would be refused; they are not what the promise rests on.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import logging
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg
from llmenv.ids import new_id
from psycopg.conninfo import make_conninfo

from llmenv_collector.delivery.watermark import Watermark
from llmenv_collector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from llmenv_collector.lake.place import Place

logger = logging.getLogger(__name__)

AUTHOR = "llmenv delivery"
"""Of those commits of the lake that carry a claim; fence.sql knows it too."""
TRIGGER = """
CREATE OR REPLACE TRIGGER llmenv_advance BEFORE INSERT ON public.ducklake_snapshot_changes
FOR EACH ROW EXECUTE FUNCTION llmenv.advance()
"""
LAID = """
SELECT count(*) FROM pg_trigger
WHERE tgname = 'llmenv_advance' AND tgenabled = 'O' AND tgrelid = 'public.ducklake_snapshot_changes'::regclass
"""
READ = """
SELECT spool_id::text, machine_id::text, sequence::text, digest, stored::text, rejected::text, dropped::text,
       repeated::text, previous_spool_id::text, previous_answered::text, first_received_at, last_received_at
FROM llmenv.watermark WHERE spool_id = ANY(%s::uuid[])
"""
STATE = """
SELECT coalesce((SELECT max(snapshot_id) FROM public.ducklake_snapshot), 0),
       coalesce((SELECT sum(file_size_bytes) FROM public.ducklake_data_file WHERE end_snapshot IS NULL), 0)
"""
LOCK_SPACE = b"llmenv machine "
SCHEMA_LOCK = 0x6C6C6D656E760001
"""Held by whoever brings the schema forward."""
GATE_LOCK = 0x6C6C6D656E760003
"""Shared by groups that are under way; whoever was overtaken by them again and again has it alone."""
LOCK_SECONDS = 2
SCHEMA_LOCK_SECONDS = 300


@dataclass(frozen=True)
class Claim:
    """What a group wants moved, and from where."""

    spools: list[dict[str, Any]]
    turns: Mapping[str, int]
    claim_id: str = field(default_factory=new_id)

    @classmethod
    def of(
        cls, before: Mapping[str, Watermark], after: Iterable[Watermark], turns: Mapping[str, int]
    ) -> Claim:
        """Of the spools that moved."""
        known = {mark.spool_id: before[mark.spool_id].sequence for mark in after if mark.spool_id in before}
        moved = [mark for mark in after if mark.sequence != known.get(mark.spool_id, 0)]
        spools = [
            asdict(mark) | {"digest": mark.digest.hex(), "before": known.get(mark.spool_id, 0)}
            for mark in moved
        ]
        return cls(spools, {mark.machine_id: turns.get(mark.machine_id, 0) for mark in moved})

    def text(self) -> str:
        machines = [{"machine_id": machine_id, "turn": turn} for machine_id, turn in self.turns.items()]
        return json.dumps({"claim_id": self.claim_id, "machines": machines, "spools": self.spools})


class Fence:
    """One connection to PostgreSQL for one thread; a lost one is made anew at the next call."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._connection: psycopg.Connection[Any] | None = None

    def lay(self) -> None:
        """When the lake is attached; again with every start, so that a restored catalog has it."""
        statements = (importlib.resources.files(__package__) / "fence.sql").read_text(encoding="utf-8")
        with self._open() as connection:
            connection.execute(statements)
            connection.execute(TRIGGER)

    @contextmanager
    def locked(self, key: int) -> Iterator[None]:
        """An advisory lock; others wait until the block ends, SCHEMA_LOCK_SECONDS at most."""
        with self._open() as connection:
            connection.execute(f"SET lock_timeout = '{SCHEMA_LOCK_SECONDS}s'")
            try:
                connection.execute("SELECT pg_advisory_lock(%s)", (key,))
            except psycopg.errors.LockNotAvailable as error:
                raise StoreError(
                    f"Another collector has been making the schema of the lake for {SCHEMA_LOCK_SECONDS} s:"
                    " look at its log, and end it if it is stuck."
                ) from error
            connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
        try:
            yield
        finally:
            self._unlock()

    @contextmanager
    def turns(self, machine_ids: Collection[str]) -> Iterator[dict[str, int]]:
        """Of machines that are in nobody else's group until the block ends, or the connection does."""
        with self._open() as connection:
            if connection.execute(LAID).fetchone() != (1,):
                raise StoreError("The catalog has lost its fence: start this collector anew.")
            self._take_turns(connection, sorted(lock_key(machine_id) for machine_id in machine_ids))
        try:
            yield self._turns(machine_ids)
        finally:
            self._unlock()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Other collectors' groups wait meanwhile, for LOCK_SECONDS at most."""
        with self._open() as connection, suppress(psycopg.errors.LockNotAvailable):
            connection.execute("SELECT pg_advisory_lock(%s)", (GATE_LOCK,))
        try:
            yield
        finally:
            self._unlock()

    def _take_turns(self, connection: psycopg.Connection[Any], keys: list[int]) -> None:
        try:
            connection.execute("SELECT pg_advisory_lock_shared(%s)", (GATE_LOCK,))
            connection.execute("SELECT pg_advisory_lock(key) FROM unnest(%s::bigint[]) AS key", (keys,))
        except psycopg.errors.LockNotAvailable:
            # Of a collector that is stopped, say: nothing rests on locks, and it is refused when it goes on.
            logger.info("another collector holds on to machines of this group: it is stored without waiting")

    def _turns(self, machine_ids: Collection[str]) -> dict[str, int]:
        query = "SELECT machine_id::text, turn FROM llmenv.machine_turn WHERE machine_id = ANY(%s::uuid[])"
        with self._open() as connection:
            return dict(connection.execute(query, (list(machine_ids),)).fetchall())

    def watermarks(self, spool_ids: Iterable[str]) -> dict[str, Watermark]:
        with self._open() as connection:
            rows = connection.execute(READ, (list(spool_ids),)).fetchall()
        return {row[0]: watermark_of(row) for row in rows}

    def copied(self) -> list[tuple[str, str]]:
        """Machine and former spool of those spools that continue a copied one."""
        query = (
            "SELECT machine_id::text, previous_spool_id::text FROM llmenv.watermark"
            " WHERE previous_spool_id IS NOT NULL"
        )
        with self._open() as connection:
            rows: list[tuple[str, str]] = connection.execute(query).fetchall()
        return rows

    def has(self, mark: str) -> bool:
        """Whether the commit with this mark took place; one that is still under way is waited for."""
        lock = "SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"
        query = "SELECT count(*) FROM public.ducklake_snapshot_changes WHERE commit_message = %s"
        with self._open() as connection:
            try:
                connection.execute(lock, (mark,))
            except psycopg.errors.LockNotAvailable as error:
                raise StoreError(
                    "PostgreSQL has lost a collector in the middle of a commit and has not noticed yet:"
                    " nobody can say now whether it takes place."
                ) from error
            ((count,),) = connection.execute(query, (mark,)).fetchall()
        return bool(count)

    def has_overtaken(self, claim: Claim) -> bool:
        """Whether something has left the place from which the claim moves it."""
        now = self.watermarks([one["spool_id"] for one in claim.spools])
        places = {spool_id: mark.sequence for spool_id, mark in now.items()}
        return self._turns(claim.turns) != {key: turn for key, turn in claim.turns.items() if turn} or any(
            places.get(one["spool_id"], 0) != one["before"] for one in claim.spools
        )

    def state(self) -> tuple[int, int]:
        """The number of the lake's last commit, and the bytes of its files as of that."""
        with self._open() as connection:
            ((commit, size),) = connection.execute(STATE).fetchall()
        return int(commit), int(size)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None

    def _unlock(self) -> None:
        """A connection that is lost has no locks, and none of the next one's are to be given up."""
        if self._connection is not None and not self._connection.closed:
            try:
                self._connection.execute("SELECT pg_advisory_unlock_all()")
            except psycopg.Error:
                self.close()

    @contextmanager
    def _open(self) -> Iterator[psycopg.Connection[Any]]:
        try:
            if self._connection is None or self._connection.closed:
                self._connection = connected(self._place)
            yield self._connection
        except psycopg.Error as error:
            self.close()
            raise StoreError(f"The lake's catalog did not answer: {told(error)}.") from error


def connected(place: Place) -> psycopg.Connection[Any]:
    """A collector that lost its power gives its locks back soon: see ALIVE in place.py."""
    connection = psycopg.connect(make_conninfo(**place.kept_alive()), autocommit=True)
    connection.execute(f"SET lock_timeout = '{LOCK_SECONDS}s'")
    return connection


def watermark_of(row: tuple[Any, ...]) -> Watermark:
    """Of a row of READ, whose counts are text: they may be larger than what PostgreSQL calls a bigint."""
    spool, machine, sequence, digest, stored, rejected, dropped, repeated, previous, answered, *times = row
    return Watermark(
        spool,
        machine,
        int(sequence),
        bytes.fromhex(digest),
        int(stored),
        int(rejected),
        int(dropped),
        int(repeated),
        previous,
        int(answered),
        *times,
    )


def lock_key(machine_id: str) -> int:
    """64 bits of PostgreSQL; two machines with one key would only wait for each other."""
    digest = hashlib.sha256(LOCK_SPACE + machine_id.encode()).digest()
    return int.from_bytes(digest[:8], signed=True)


def told(error: psycopg.Error) -> str:
    """In one line, without what libpq adds of the connection string."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
