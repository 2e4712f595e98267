"""The store: one DuckDB file, one writer thread that owns the only write connection.

What is asked of the writer waits in a queue.  While one group commits, the next
one gathers: an idle store commits at once, a busy one in large groups.  A future
is done only after COMMIT, so whoever waits for it may acknowledge.
Readers use cursors of their own and never wait for the writer.
"""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
from llmenv import failpoints

from llmenv_collector import clock, migrate, reingest
from llmenv_collector.errors import StoreError
from llmenv_collector.group import REFUSALS_OF_VALUES, GroupWriter, Outcome, Rejection, Sighting, first_line
from llmenv_collector.watermark import Watermark, read_watermarks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from llmenv_collector.ingest import Arrival

T = TypeVar("T")
MAX_GROUP_RECORDS = 8_192
MAX_GROUP_BYTES = 64 << 20
CHECKPOINT_LOG_BYTES = 64 << 20
MAX_REPEATED = 1_000
FATAL = (duckdb.FatalException, duckdb.InternalException)


@dataclass(frozen=True)
class Delivered:
    """What became of one delivery."""

    watermark: int
    rejections: tuple[Rejection, ...]
    jump: str
    """One sentence when the sequences do not follow the watermark; else empty."""


@dataclass(frozen=True)
class SpoolState:
    """What a returning agent is told."""

    watermark: Watermark | None
    rejections: tuple[Rejection, ...]
    """The oldest MAX_REPEATED that it has not confirmed; when it has, the next ones follow."""


@dataclass(frozen=True)
class Delivery:
    arrivals: Sequence[Arrival]
    done: Future[Delivered]


@dataclass(frozen=True)
class Seen:
    sighting: Sighting
    done: Future[None]


@dataclass(frozen=True)
class Request:
    """Something for the writer to do on its own, between two groups."""

    act: Callable[[duckdb.DuckDBPyConnection], Any]
    done: Future[Any]


Item = Delivery | Seen | Request


class Store:
    """Open from creation to close().  Every method may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = migrate.connect(path)
        try:
            migrate.migrate(self._connection)
            self._writer = GroupWriter(self._connection)
            self.reingested = reingest.reingest(self._connection, self._writer)
        except (StoreError, duckdb.Error):
            self._connection.close()
            raise
        self._readers = self._connection.cursor()
        self._readers_lock = threading.Lock()
        self._waiting: deque[Item] = deque()
        self._changed = threading.Condition()
        self._is_closing = False
        self._holds = 0
        self._commits = 0
        self.ended: Future[None] = Future()
        """Done when the writer has ended, also when it failed."""
        self._thread = threading.Thread(target=self._run, name="store-writer", daemon=True)
        self._thread.start()

    def deliver(self, arrivals: Sequence[Arrival]) -> Future[Delivered]:
        """Records of one spool, oldest first."""
        done: Future[Delivered] = Future()
        self._put(Delivery(arrivals, done))
        return done

    def see(self, sighting: Sighting) -> Future[None]:
        done: Future[None] = Future()
        self._put(Seen(sighting, done))
        return done

    def spool_state(self, spool_id: str) -> Future[SpoolState]:
        """After everything that was delivered before this call."""
        return self.request(lambda connection: read_spool_state(connection, spool_id))

    def confirm_rejection(self, spool_id: str, sequence: int) -> Future[None]:
        return self.request(lambda connection: confirm_rejection(connection, spool_id, sequence))

    def request(self, act: Callable[[duckdb.DuckDBPyConnection], T]) -> Future[T]:
        """Has the writer do something between two groups.  `act` raises nothing but duckdb.Error."""
        done: Future[T] = Future()
        self._put(Request(act, done))
        return done

    def checkpoint_and_hold(self) -> Future[int]:
        """Puts everything committed into the file and leaves the file alone until release().

        Returns the time of that state, microseconds since 1970.
        """
        return self.request(self._checkpoint_and_hold)

    def release(self) -> Future[None]:
        return self.request(self._release)

    @property
    def commits(self) -> int:
        """Groups and requests since it was opened, a count: unchanged means that nothing is new."""
        return self._commits

    @property
    def path(self) -> Path:
        return self._path

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one thread, for reading; one state of the database throughout."""
        with self._readers_lock:
            cursor = self._readers.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield cursor
        except duckdb.Error as error:
            raise StoreError(f"The database could not be read: {first_line(error)}") from error
        finally:
            cursor.close()

    def close(self) -> None:
        """Commits what waits, checkpoints, and closes the file."""
        with self._changed:
            self._is_closing = True
            self._changed.notify()
        self._thread.join()

    def _put(self, item: Item) -> None:
        with self._changed:
            if self._is_closing:
                raise StoreError("The store is closed.")
            self._waiting.append(item)
            self._changed.notify()

    def _run(self) -> None:
        try:
            while items := self._take():
                # A caller that is gone gets nothing stored: its agent sends again.
                wanted = [item for item in items if item.done.set_running_or_notify_cancel()]
                requests = [item for item in wanted if isinstance(item, Request)]
                for request in requests:
                    self._act(request)
                group = [item for item in wanted if not isinstance(item, Request)]
                if group:
                    self._commit(group)
                    self._checkpoint_when_due()
        finally:
            # Also after a failure: nobody may wait for an acknowledgement that cannot come.
            self._end()

    def _take(self) -> list[Item]:
        """Blocks until something waits; empty when the store closes and nothing is left."""
        with self._changed:
            while not self._waiting and not self._is_closing:
                self._changed.wait()
            return take_group(self._waiting)

    def _commit(self, group: Sequence[Delivery | Seen]) -> None:
        deliveries = [item for item in group if isinstance(item, Delivery)]
        arrivals = [arrival for delivery in deliveries for arrival in delivery.arrivals]
        try:
            outcome = self._writer.commit(
                arrivals, [item.sighting for item in group if isinstance(item, Seen)]
            )
        except (*REFUSALS_OF_VALUES, duckdb.Error) as error:
            self._fail(group, error)
            return
        self._commits += 1
        for item in group:
            if isinstance(item, Seen):
                item.done.set_result(None)
            else:
                item.done.set_result(delivered(item.arrivals, outcome))

    def _act(self, request: Request) -> None:
        try:
            result = request.act(self._connection)
        except duckdb.Error as error:
            self._fail([request], error)
            return
        self._commits += 1
        request.done.set_result(result)

    def _fail(self, items: Sequence[Item], error: Exception) -> None:
        """Nothing is acknowledged.  After a fatal error DuckDB can do nothing more, so the writer ends."""
        for item in items:
            item.done.set_exception(StoreError(f"The store could not commit: {first_line(error)}"))
        if isinstance(error, FATAL):
            raise error

    def _checkpoint_when_due(self) -> None:
        log = self._path.with_name(self._path.name + ".wal")
        if self._holds == 0 and log.exists() and log.stat().st_size >= CHECKPOINT_LOG_BYTES:
            checkpoint(self._connection)

    def _checkpoint_and_hold(self, connection: duckdb.DuckDBPyConnection) -> int:
        if self._holds == 0:
            checkpoint(connection)
            self._checkpointed_at = clock.now()
        self._holds += 1
        return self._checkpointed_at

    def _release(self, _connection: duckdb.DuckDBPyConnection) -> None:
        self._holds -= 1

    def _end(self) -> None:
        with self._changed:
            self._is_closing = True
            left = list(self._waiting)
        for item in left:
            if item.done.set_running_or_notify_cancel():
                item.done.set_exception(StoreError("The store is closed."))
        self._readers.close()
        self._connection.close()
        self.ended.set_result(None)


def checkpoint(connection: duckdb.DuckDBPyConnection) -> None:
    """Moves what the log holds into the file."""
    failpoints.reach("collector.checkpoint.before", error=duckdb.IOException)
    connection.execute("CHECKPOINT")
    failpoints.reach("collector.checkpoint.after", error=duckdb.IOException)


def take_group(waiting: deque[Item]) -> list[Item]:
    """Takes off either one request or as many deliveries and sightings as a group may hold."""
    group: list[Item] = []
    records = size = 0
    while waiting and records < MAX_GROUP_RECORDS and size < MAX_GROUP_BYTES:
        if group and (isinstance(waiting[0], Request) or isinstance(group[0], Request)):
            break
        item = waiting.popleft()
        group.append(item)
        if isinstance(item, Delivery):
            records += len(item.arrivals)
            size += sum(len(arrival.record) for arrival in item.arrivals)
    return group


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


def read_spool_state(connection: duckdb.DuckDBPyConnection, spool_id: str) -> SpoolState:
    query = """
        SELECT sequence, record_id, reason FROM store.rejection
        WHERE spool_id = ? AND confirmed_at IS NULL ORDER BY sequence LIMIT ?
    """
    rejections = connection.execute(query, [spool_id, MAX_REPEATED]).fetchall()
    return SpoolState(
        watermark=read_watermarks(connection, [spool_id]).get(spool_id),
        rejections=tuple(Rejection(*row) for row in rejections),
    )


def confirm_rejection(connection: duckdb.DuckDBPyConnection, spool_id: str, sequence: int) -> None:
    connection.execute(
        "UPDATE store.rejection SET confirmed_at = now()"
        " WHERE spool_id = ? AND sequence = ? AND confirmed_at IS NULL",
        [spool_id, sequence],
    )
