"""The store: a database, and one writer thread that owns the only connection that writes to it.

The database is a DuckDB file that no other process opens, or a lake that other collectors write to as well.

What is asked of the writer waits in a queue.  While one group commits, the next
one gathers: an idle store commits at once, a busy one in large groups.  A future
is done only after COMMIT, so whoever waits for it may acknowledge.
Readers use cursors of their own and never wait for the writer.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import duckdb

from llmenv_collector import clock
from llmenv_collector.delivery.group import REFUSALS_OF_VALUES, first_line
from llmenv_collector.delivery.sieve import Rejection
from llmenv_collector.delivery.waiting import (
    Asked,
    Delivered,
    Delivery,
    Item,
    Question,
    Request,
    Seen,
    Waiting,
)
from llmenv_collector.errors import FullStoreError, StoreError
from llmenv_collector.serving import metrics
from llmenv_collector.storage.database import CHECKPOINT_LOG_BYTES, Database
from llmenv_collector.storage.disk_space import DiskSpace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from llmenv_collector.compaction.compact_copy import CompactCopy
    from llmenv_collector.delivery.ingest import Arrival
    from llmenv_collector.delivery.sieve import Outcome
    from llmenv_collector.delivery.sighting import Sighting
    from llmenv_collector.delivery.watermark import Watermark
    from llmenv_collector.lake.database import LakeDatabase, ReadOnlyLake

T = TypeVar("T")
MAX_REPEATED = 1_000
QUIET_SECONDS = 2.0
QUIET_LOG_BYTES = 4 << 20
"""Whoever asks something reads the log first, 4 ms a mebibyte: it goes into the file in a quiet moment."""
FATAL = (duckdb.FatalException, duckdb.InternalException)


@dataclass(frozen=True)
class SpoolState:
    """What a returning agent is told."""

    watermark: Watermark | None
    rejections: tuple[Rejection, ...]
    """The oldest MAX_REPEATED that it has not confirmed; when it has, the next ones follow."""


@dataclass(frozen=True)
class Held:
    """The state that a file is left in: the file, and the first bytes of its log."""

    at: int
    """Microseconds since 1970: everything committed by then is in it."""
    commits: int
    log_bytes: int
    file_version: int


class Store:
    """Open from creation to close().  Every method may be called from any thread."""

    def __init__(
        self, path: Path, *, reserve_bytes: int = 0, lake: LakeDatabase | ReadOnlyLake | None = None
    ) -> None:
        """`reserve_bytes` of the disk stay free: deliveries are refused before.

        The file at `path`, or the lake that is given, which is closed with this.
        """
        self.lake = lake
        self._database = lake or Database(path)
        self._space = DiskSpace(path.parent, reserve_bytes)
        self._waiting = Waiting()
        self._trouble = ""
        self._holds = 0
        self._commits = 0
        self._busy_at = time.monotonic()
        self.ended: Future[None] = Future()
        """Done when the writer has ended, also when it failed."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def deliver(self, arrivals: Sequence[Arrival]) -> Future[Delivered]:
        """Records of one spool, oldest first."""
        done: Future[Delivered] = Future()
        self._waiting.put(Delivery(arrivals, done))
        return done

    def see(self, *sightings: Sighting) -> Future[None]:
        done: Future[None] = Future()
        self._waiting.put(Seen(sightings, done))
        return done

    def spool_state(self, spool_id: str) -> Future[SpoolState]:
        """After everything that was delivered before this call."""
        return self.ask(self._spool_states, spool_id, is_change=False)

    def confirm_rejection(self, spool_id: str, sequence: int) -> Future[None]:
        return self.request(lambda connection: confirm_rejection(connection, spool_id, sequence))

    def request(self, act: Callable[[duckdb.DuckDBPyConnection], T], *, is_change: bool = True) -> Future[T]:
        """Has the writer do something between two groups.

        `act` raises nothing but duckdb.Error and FullStoreError.
        """
        done: Future[T] = Future()
        self._waiting.put(Request(act, done, is_change=is_change))
        return done

    def ask(
        self,
        question: Callable[[duckdb.DuckDBPyConnection, Sequence[str]], Mapping[str, T]],
        key: str,
        *,
        is_change: bool = True,
    ) -> Future[T]:
        """Has the writer answer it for all keys that wait: a fleet that comes back asks ten thousand times.

        A key is the id of a machine or of a spool: what that has delivered before is stored by then.
        `question` raises nothing but duckdb.Error and FullStoreError, and has an answer to every key.
        """
        done: Future[T] = Future()
        self._waiting.put(Asked(question, key, done, is_change=is_change))
        return done

    def name(self, names: Mapping[str, str]) -> Future[None]:
        """What people call machines, in place of the hostnames that they say; by id."""
        return self.request(lambda _connection: self._database.writer.name(names))

    def hold(self) -> Future[Held]:
        """Leaves the file alone until release(): what is committed meanwhile goes to the end of its log."""
        return self.request(self._hold, is_change=False)

    def release(self) -> Future[None]:
        return self.request(self._release, is_change=False)

    def exchange(self, copy: CompactCopy) -> Future[bool]:
        """Puts a copy in place of the file, where nobody but the caller holds it, and closes the copy."""
        return self.request(lambda _connection: self._exchange(copy))

    def try_again(self) -> Future[None]:
        """After a failure: writes what is committed into the file, which shows whether it can be written."""
        return self.request(self._try_again, is_change=False)

    def obstacle(self) -> str:
        """Why nothing can be stored now, one sentence; empty when it can."""
        return self._space.shortage() or self._trouble

    @property
    def commits(self) -> int:
        """Groups and changes since it was opened, a count: unchanged means that nothing is new."""
        return self._commits + self._database.commits_elsewhere

    @property
    def path(self) -> Path:
        return self._database.path

    @property
    def reingested(self) -> int:
        """Records kept raw that were understood when it was opened, a count."""
        return self._database.reingested

    @property
    def file_version(self) -> int:
        """Another one whenever the file, apart from its log, may have changed."""
        return self._database.file_version

    def size_bytes(self) -> int:
        """What is committed takes so much, without log_bytes()."""
        return self._database.size_bytes

    def log_bytes(self) -> int:
        """Committed, and not in the file yet."""
        return self._database.log_bytes()

    def free_bytes(self) -> int:
        """On its disk."""
        return self._space.free_bytes()

    def oldest_waiting_seconds(self) -> float:
        """How long the writer has let the next item wait."""
        return self._waiting.oldest_seconds()

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one thread, for reading; one state of the database throughout."""
        with self._database.reader() as connection:
            yield connection

    def close(self) -> None:
        """Commits what waits, checkpoints, and closes the file."""
        self._waiting.close()
        self._thread.join()

    def _run(self) -> None:
        try:
            while (items := self._waiting.take(self._seconds_to_quiet())) is not None:
                # A caller that is gone gets nothing stored: its agent sends again.
                wanted = [item for item in items if item.done.set_running_or_notify_cancel()]
                for request in (item for item in wanted if isinstance(item, Request)):
                    self._act(request)
                group = [item for item in wanted if isinstance(item, Delivery | Seen)]
                if group:
                    self._commit(group)
                self._checkpoint_when_due()
                for question, asked in by_question(wanted).items():
                    self._answer(question, asked)
                if group:
                    time.sleep(self._database.gather_seconds)
        finally:
            # Also after a failure: nobody may wait for an acknowledgement that cannot come.
            self._end()

    def _commit(self, group: Sequence[Delivery | Seen]) -> None:
        arrivals = [arrival for item in group if isinstance(item, Delivery) for arrival in item.arrivals]
        if arrivals:
            self._busy_at = time.monotonic()
        sightings = [sighting for item in group if isinstance(item, Seen) for sighting in item.sightings]
        try:
            if arrivals:
                self._space.require()
            with metrics.COMMIT_SECONDS.time():
                outcome = self._database.writer.commit(arrivals, sightings)
        except (*REFUSALS_OF_VALUES, duckdb.Error, StoreError) as error:
            self._fail(group, error)
            return
        self._commits += 1
        self._trouble = ""
        for item in group:
            if isinstance(item, Seen):
                item.done.set_result(None)
            else:
                item.done.set_result(delivered(item.arrivals, outcome))

    def _act(self, request: Request) -> None:
        try:
            result = self._database.act(request.act)
        except (duckdb.Error, StoreError) as error:
            self._fail([request], error)
            return
        if request.is_change:
            self._commits += 1
            self._database.writer.look_again()
        request.done.set_result(result)

    def _answer(self, question: Question, asked: Sequence[Asked]) -> None:
        keys = [one.key for one in asked]
        try:
            answers = self._database.act(lambda connection: question(connection, keys))
        except (duckdb.Error, StoreError) as error:
            self._fail(asked, error)
            return
        self._commits += any(one.is_change for one in asked)
        for one in asked:
            one.done.set_result(answers[one.key])

    def _spool_states(
        self, connection: duckdb.DuckDBPyConnection, spool_ids: Sequence[str]
    ) -> dict[str, SpoolState]:
        marks = self._database.watermarks(spool_ids)
        refused = unconfirmed(connection, [spool_id for spool_id, mark in marks.items() if mark.rejected])
        return {one: SpoolState(marks.get(one), refused.get(one, ())) for one in spool_ids}

    def _fail(self, items: Sequence[Item], error: Exception) -> None:
        """Nothing is acknowledged; what was committed stays."""
        failure = failure_of(error)
        for item in items:
            item.done.set_exception(failure)
        if not isinstance(error, FullStoreError):
            self._trouble = str(failure)
        if isinstance(error, FATAL):
            self._database.reopen()

    def _seconds_to_quiet(self) -> float | None:
        """Until the log may go into the file; None while there is nothing to wait for."""
        if self._holds or self._database.log_bytes() < QUIET_LOG_BYTES:
            return None
        return max(0.0, self._busy_at + QUIET_SECONDS - time.monotonic())

    def _checkpoint_when_due(self) -> None:
        """Not on a disk that has no room for it: the log is as durable as the file."""
        size, is_quiet = self._database.log_bytes(), self._seconds_to_quiet() == 0
        is_due = size >= CHECKPOINT_LOG_BYTES or is_quiet
        if self._holds or not is_due:
            return
        self._busy_at = time.monotonic()  # one that fails is not tried again at once
        if self._space.free_bytes() < 2 * size:
            return
        try:
            self._database.checkpoint()
        except duckdb.Error as error:
            self._fail([], error)

    def _try_again(self, _connection: duckdb.DuckDBPyConnection) -> None:
        self._space.require()
        if self._holds == 0:
            self._database.checkpoint()
        self._trouble = ""

    def _hold(self, _connection: duckdb.DuckDBPyConnection) -> Held:
        self._holds += 1
        return Held(clock.now(), self._commits, self._database.log_bytes(), self._database.file_version)

    def _exchange(self, copy: CompactCopy) -> bool:
        try:
            if self._holds != 1 or not isinstance(self._database, Database):
                return False
            return self._database.exchange(copy)
        finally:
            copy.close()

    def _release(self, _connection: duckdb.DuckDBPyConnection) -> None:
        self._holds -= 1

    def _end(self) -> None:
        for item in self._waiting.close():
            if item.done.set_running_or_notify_cancel():
                item.done.set_exception(StoreError("The store is closed."))
        self._database.close()
        self.ended.set_result(None)


def failure_of(error: Exception) -> StoreError:
    """In the words of whoever reads it at an agent."""
    if isinstance(error, StoreError):
        return error
    sentence = f"The store could not commit: {first_line(error)}"
    return FullStoreError(sentence) if "No space left on device" in str(error) else StoreError(sentence)


def by_question(items: Sequence[Item]) -> dict[Question, list[Asked]]:
    grouped: dict[Question, list[Asked]] = {}
    for item in items:
        if isinstance(item, Asked):
            grouped.setdefault(item.question, []).append(item)
    return grouped


def delivered(arrivals: Sequence[Arrival], outcome: Outcome) -> Delivered:
    """The part of a group's outcome that one delivery is about."""
    spool_id = arrivals[0].spool_id
    sequences = {arrival.sequence for arrival in arrivals}
    rejections = outcome.rejections.get(spool_id, [])
    return Delivered(
        watermark=outcome.watermarks[spool_id],
        rejections=tuple(one for one in rejections if one.sequence in sequences),
        jump=outcome.jumps.get(spool_id, ""),
    )


def unconfirmed(
    connection: duckdb.DuckDBPyConnection, spool_ids: Sequence[str]
) -> dict[str, tuple[Rejection, ...]]:
    """The oldest MAX_REPEATED of each spool that has any."""
    if not spool_ids:
        return {}
    query = """
        SELECT spool_id::VARCHAR, sequence, record_id, reason FROM store.rejection
        WHERE spool_id IN (SELECT unnest(?::UUID[])) AND confirmed_at IS NULL
        QUALIFY row_number() OVER (PARTITION BY spool_id ORDER BY sequence) <= ? ORDER BY sequence
    """
    found: dict[str, list[Rejection]] = {}
    for spool_id, *row in connection.execute(query, [spool_ids, MAX_REPEATED]).fetchall():
        found.setdefault(spool_id, []).append(Rejection(*row))
    return {spool_id: tuple(rejections) for spool_id, rejections in found.items()}


def confirm_rejection(connection: duckdb.DuckDBPyConnection, spool_id: str, sequence: int) -> None:
    connection.execute(
        "UPDATE store.rejection SET confirmed_at = now()"
        " WHERE spool_id = ? AND sequence = ? AND confirmed_at IS NULL",
        [spool_id, sequence],
    )
