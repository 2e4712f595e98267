"""The lake as a store has it: the same parts as of a file, and as many collectors as wanted.

PostgreSQL may go away and come back: whatever was under way fails, and the next statement connects anew.
"""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

import duckdb

from llmenv_collector.delivery import reingest
from llmenv_collector.delivery.group import first_line
from llmenv_collector.errors import StoreError
from llmenv_collector.lake import connection as lake_connection
from llmenv_collector.lake import folds
from llmenv_collector.lake.extensions import escaped
from llmenv_collector.lake.fence import SCHEMA_LOCK, Fence
from llmenv_collector.lake.place import LAKE
from llmenv_collector.lake.transaction import LakeGroupWriter, LakeTransactions
from llmenv_collector.lake.writing import Writing
from llmenv_collector.sql.statement_rules import CATALOG
from llmenv_collector.storage import migrate
from llmenv_collector.storage.reading import one_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from llmenv_collector.delivery.group import GroupWriter
    from llmenv_collector.delivery.watermark import Watermark
    from llmenv_collector.lake.place import Place

T = TypeVar("T")
logger = logging.getLogger(__name__)

GATHER_SECONDS = 0.5
"""Between two commits of a collector: each one is a snapshot of the lake, and a file a table."""
LOOK_SECONDS = 1.0
"""Between looks for what other collectors have committed."""


class LakeReading:
    """What reads of a lake, from any thread."""

    gather_seconds = GATHER_SECONDS
    file_version = 0
    reingested = 0
    _views: duckdb.DuckDBPyConnection
    _look: Looking

    def __init__(self, place: Place, *, path: Path) -> None:
        """`path` is where a file would be: what is kept on this machine's disk is kept beside it."""
        self.path = path
        self.place = place
        self._fence = Fence(place)

    @property
    def commits_elsewhere(self) -> int:
        """Another number when another collector has committed something, some seconds later."""
        return self._look.commits

    @property
    def size_bytes(self) -> int:
        """Of the files that hold what is in the lake now, some seconds ago."""
        return self._look.size_bytes

    def last_commit(self) -> int:
        """Of any collector; from any thread.  Raises StoreError."""
        with closing(Fence(self.place)) as fence:
            return fence.state()[0]

    def write_views(self, path: Path) -> None:
        """A database with the views alone, for processes that have the lake attached themselves."""
        with closing(self._views.cursor()) as cursor:
            cursor.execute(f"ATTACH '{escaped(str(path))}' AS {CATALOG}")
            cursor.execute(f"USE {CATALOG}")
            folds.lay(cursor)
            cursor.execute("USE memory")
            cursor.execute(f"DETACH {CATALOG}")

    def watermarks(self, spool_ids: Iterable[str]) -> dict[str, Watermark]:
        return self._fence.watermarks(spool_ids)

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one thread, for reading; one state of the lake throughout."""
        try:
            with one_state(self._views, of="lake") as cursor:
                yield cursor
        except StoreError as error:
            if isinstance(error.__cause__, duckdb.Error):
                told = lake_connection.told(error.__cause__)
                raise StoreError(f"The lake could not be read: {told}") from error.__cause__
            raise

    def reopen(self) -> None:
        """After an error that DuckDB does not recover from: there is no file here to open anew."""
        raise StoreError("DuckDB has given up: start the collector anew.")

    def checkpoint(self) -> None:
        """Nothing waits to be moved anywhere; raises StoreError where the catalog does not answer."""
        self._fence.state()

    def log_bytes(self) -> int:
        """Nothing is committed outside the lake."""
        return 0

    def close(self) -> None:
        self._look.end()
        self._fence.close()
        self._views.close()


class LakeDatabase(LakeReading):
    """`connection`, `writer` and `watermarks` belong to one thread."""

    def __init__(self, place: Place, *, path: Path) -> None:
        super().__init__(place, path=path)
        try:
            # One collector at a time; the others find everything done.
            with self._fence.locked(SCHEMA_LOCK):
                self._views = lake_connection.attached(place)
                self._bring_forward()
        except StoreError:
            self._fence.close()
            raise
        self._look = Looking(place)

    def _bring_forward(self) -> None:
        with ExitStack() as opened:
            opened.callback(self._views.close)
            self._writing = Writing(self.place, self._fence, readers=self._views)
            opened.callback(self._writing.close)
            self.connection = cast("duckdb.DuckDBPyConnection", self._writing)
            try:
                self._fence.lay()
                migrate.bring_forward(self.connection)
                for views in (self._views, self._writing.views):
                    folds.lay(views)
                self.writer = LakeGroupWriter(self.connection, LakeTransactions(self._writing, self._fence))
                self.reingested = reingest.reingest(self.connection, self.writer)
            except duckdb.Error as error:
                raise StoreError(f"The lake cannot be brought forward: {first_line(error)}") from error
            opened.pop_all()

    def act(self, act: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """All of it or nothing.  Raises StoreError also when nobody can say which."""
        return self._writing.act(act)

    def close(self) -> None:
        self._writing.close()
        super().close()


class ReadOnlyLake(LakeReading):
    """For whoever may only look: it needs no right to change anything, in the catalog or in the files."""

    def __init__(self, place: Place, *, path: Path) -> None:
        super().__init__(place, path=path)
        self._views = lake_connection.attached(place, options=", READ_ONLY")
        try:
            with closing(self._views.cursor()) as cursor:
                cursor.execute(f"USE {LAKE}")
                migrate.require_current(cursor)
            folds.lay(self._views)
        except (StoreError, duckdb.Error) as error:
            self._views.close()
            if isinstance(error, StoreError):
                raise
            raise StoreError(f"The lake cannot be read: {first_line(error)}") from error
        self._look = Looking(place)

    @property
    def writer(self) -> GroupWriter:
        return cast("GroupWriter", Unwritten())

    def act(self, act: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """Questions alone: DuckDB refuses everything else."""
        with closing(self._views.cursor()) as cursor:
            return act(cursor)


class Unwritten:
    """In place of what writes groups."""

    def commit(self, *_group: object) -> None:
        raise StoreError("This collector only reads the lake: ask one that writes into it.")

    def look_again(self) -> None:
        """Nothing is remembered here."""


class Looking:
    """Asks the catalog now and then how many commits there were, on a connection of its own."""

    def __init__(self, place: Place) -> None:
        self.commits = 0
        self.size_bytes = 0
        self._fence = Fence(place)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lake-looking", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_SECONDS):
            try:
                self.commits, self.size_bytes = self._fence.state()
            except StoreError as error:
                logger.debug("no look at the catalog: %s", error)
        self._fence.close()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()
