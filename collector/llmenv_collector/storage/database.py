"""The open DuckDB file: the one connection that may write, and cursors for whoever reads.

After a fatal error, such as a checkpoint on a full disk, DuckDB refuses everything
until the file is opened anew, in the same process: the writer does so between two
groups, when the readers that were under way have ended.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import duckdb
from llmenv import failpoints

from llmenv_collector.delivery import reingest
from llmenv_collector.delivery.group import GroupWriter
from llmenv_collector.delivery.watermark import read_watermarks
from llmenv_collector.errors import StoreError
from llmenv_collector.serving import metrics
from llmenv_collector.storage import migrate
from llmenv_collector.storage.data_folder import put_in_place
from llmenv_collector.storage.reading import one_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from llmenv_collector.compaction.compact_copy import CompactCopy
    from llmenv_collector.delivery.watermark import Watermark

T = TypeVar("T")
CHECKPOINT_LOG_BYTES = 64 << 20
EXCHANGE_SECONDS = 1.0
"""What is delivered waits so long at most for readers that are under way."""


class Database:
    """`connection`, `writer`, `watermarks` and `reopen` belong to one thread; `reader` to any."""

    gather_seconds = 0.02
    """Between two commits: a small group costs nearly what a large one does, once for each table."""
    commits_elsewhere = 0
    """A file has one writer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file_version = 0
        """Another one whenever the file may have changed; what is committed changes the log alone."""
        self.connection = migrate.connect(path)
        try:
            migrate.migrate(self.connection)
            self.writer = GroupWriter(self.connection)
            self.reingested = reingest.reingest(self.connection, self.writer)
        except (StoreError, duckdb.Error):
            self.connection.close()
            raise
        self._readers = self.connection.cursor()
        self._free = threading.Condition()
        self._reading = 0
        self._is_reopening = False

    def act(self, act: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """What it says, which nobody else can come between."""
        return act(self.connection)

    def watermarks(self, spool_ids: Iterable[str]) -> dict[str, Watermark]:
        """Of those spools that have one."""
        return read_watermarks(self.connection, spool_ids)

    @contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection for one thread, for reading; one state of the database throughout."""
        with self._free:
            self._free.wait_for(lambda: not self._is_reopening)
            self._reading += 1
        try:
            with one_state(self._readers, of="database") as cursor:
                yield cursor
        finally:
            with self._free:
                self._reading -= 1
                self._free.notify_all()

    def reopen(self) -> None:
        """Raises StoreError when it cannot be opened any more."""
        with self._free:
            self._is_reopening = True
            # As long as one cursor is open, DuckDB gives back the database that it has given up.
            self._free.wait_for(lambda: self._reading == 0)
            try:
                self._open_anew()
            finally:
                self._is_reopening = False
                self._free.notify_all()

    def exchange(self, copy: CompactCopy) -> bool:
        """Puts a copy in place of the file; False where readers do not end soon, or it lacks something."""
        with self._free:
            self._is_reopening = True
            try:
                if not self._free.wait_for(lambda: self._reading == 0, EXCHANGE_SECONDS):
                    return False
                if not copy.catch_up(self.connection):
                    return False
                copy.close()
                self.checkpoint()
                return self._opened_instead(copy.path)
            finally:
                self._is_reopening = False
                self._free.notify_all()

    def _opened_instead(self, path: Path) -> bool:
        """Raises duckdb.FatalException where nothing is open any more: it is opened anew after that."""
        try:
            return self._open_anew(instead=path)
        except (StoreError, duckdb.Error, OSError) as error:
            raise duckdb.FatalException(f"The compacted file could not be opened: {error}") from error

    def _open_anew(self, instead: Path | None = None) -> bool:
        """Whether it is what lay at `instead`, which takes the place of the file when that is let go."""
        self.file_version += 1
        self.close()
        is_exchanged = instead is not None and is_let_go(self.path)
        if instead is not None and is_exchanged:
            put_in_place(instead, self.path)
        self.connection = migrate.connect(self.path)
        self.writer = GroupWriter(self.connection)
        self._readers = self.connection.cursor()
        return is_exchanged

    def checkpoint(self) -> None:
        """Moves what the log holds into the file."""
        self.file_version += 1
        failpoints.reach("collector.checkpoint.before", error=duckdb.IOException)
        with metrics.CHECKPOINT_SECONDS.time():
            self.connection.execute("CHECKPOINT")
        failpoints.reach("collector.checkpoint.after", error=duckdb.IOException)

    @property
    def size_bytes(self) -> int:
        """Of the file, without its log."""
        return self.path.stat().st_size

    def log_bytes(self) -> int:
        """What is committed and not in the file yet."""
        log = migrate.log_of(self.path)
        return log.stat().st_size if log.exists() else 0

    def close(self) -> None:
        self._readers.close()
        self.connection.close()


def is_let_go(path: Path) -> bool:
    """Everything is in the file, and nobody here has it open: DuckDB would go on with that one."""
    if migrate.log_of(path).exists():
        return False
    try:
        # One that is open already cannot be opened with other settings.
        duckdb.connect(str(path), read_only=True).close()
    except duckdb.ConnectionException:
        return False
    return True
