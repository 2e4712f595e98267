"""Read-only copies of the database, for statements that must not disturb the writer.

A copy is the file as the last checkpoint left it, and the log of what was committed since: checkpoints, and
not commits, wait while it is made.  Copies of one checkpoint share its file, so that most cost the log alone;
after another checkpoint the blocks that it changed are copied.  A copy serves until something new was
committed, and then still for ten times as long as it took to make, so that copying never takes more than a
tenth of the time.  A copy that was begun is completed, also when nobody waits for it any more: a thread
cannot be stopped, and checkpoints wait until it has ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import shutil
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
from llmenv.ids import new_id

from llmenv_collector.delivery.group import first_line
from llmenv_collector.errors import StoreError
from llmenv_collector.snapshots import file_copy
from llmenv_collector.sql.statement_rules import CATALOG
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
    from pathlib import Path

    from llmenv_collector.storage.store import Held, Store

KEEP_FACTOR = 10
NAME = f"{CATALOG}.duckdb"
"""What DuckDB calls the database follows from it."""


@dataclass
class Snapshot:
    """A copy of the database, in a folder of its own."""

    path: Path
    """Its file, with its log beside it."""
    taken_at: int
    """Microseconds since 1970: everything committed by then is in it."""
    commits: int
    keep_until: float
    """Monotonic, seconds."""
    users: int = 0
    lake: Mapping[str, Any] | None = None
    """What shows a lake as of a commit, where the file has the views alone; secrets are in it."""


class Snapshots:
    """Lives in the event loop; its folder holds nothing else."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._newest: Snapshot | None = None
        self._base = Base(folder / "base.duckdb")
        self._lock = asyncio.Lock()
        self._taking: set[asyncio.Task[Snapshot]] = set()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Snapshot]:
        """The copy stays until the block ends."""
        snapshot = await self._completed(self._leased(), give_back=self._give_back)
        try:
            yield snapshot
        finally:
            self._give_back(snapshot)

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[Snapshot]:
        """One file without a log, which nobody else reads or writes; it stays until the block ends."""
        snapshot = await self._completed(self._copied_whole(), give_back=remove)
        try:
            yield snapshot
        finally:
            remove(snapshot)

    async def _completed(
        self, taking: Coroutine[Any, Any, Snapshot], *, give_back: Callable[[Snapshot], None]
    ) -> Snapshot:
        """Goes on when its caller leaves, and what it took is given back then."""
        task = asyncio.create_task(taking)
        self._taking.add(task)
        task.add_done_callback(self._taking.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(functools.partial(give_back_taken, give_back=give_back))
            raise

    async def _leased(self) -> Snapshot:
        async with self._lock:
            snapshot = await self._fresh()
            snapshot.users += 1
            return snapshot

    async def _copied_whole(self) -> Snapshot:
        async with self.lease() as shared:
            whole = Snapshot(self._folder / new_id() / NAME, shared.taken_at, shared.commits, keep_until=0.0)
            try:
                await asyncio.to_thread(copy_whole, shared.path, whole.path)
            except Exception:
                remove(whole)
                raise
            return whole

    async def _fresh(self) -> Snapshot:
        newest = self._newest
        if newest and (newest.commits == self._store.commits or time.monotonic() < newest.keep_until):
            return newest
        self._newest = None
        if newest:
            self._drop_when_unused(newest)
        self._newest = await self._take()
        return self._newest

    async def _take(self) -> Snapshot:
        started = time.monotonic()
        held = await asyncio.wrap_future(self._store.hold())
        path = self._folder / new_id() / NAME
        try:
            await asyncio.to_thread(self._copy, held, path)
        except OSError as error:
            shutil.rmtree(path.parent, ignore_errors=True)
            raise StoreError(
                f"The database could not be copied for reading: {error.strerror}; ask again."
            ) from error
        finally:
            await asyncio.wrap_future(self._store.release())
        if self._store.file_version != held.file_version:
            shutil.rmtree(path.parent)
            raise StoreError("The database was opened anew while it was copied for reading: ask again.")
        ended = time.monotonic()
        return Snapshot(path, held.at, held.commits, ended + KEEP_FACTOR * (ended - started))

    def _copy(self, held: Held, path: Path) -> None:
        self._base.bring_to(held.file_version, self._store.path)
        path.parent.mkdir(mode=0o700)
        os.link(self._base.path, path)
        if held.log_bytes:
            log = migrate.log_of(self._store.path)
            file_copy.copy_part(log, migrate.log_of(path), length=held.log_bytes)

    def _give_back(self, snapshot: Snapshot) -> None:
        snapshot.users -= 1
        self._drop_when_unused(snapshot)

    def _drop_when_unused(self, snapshot: Snapshot) -> None:
        if snapshot.users == 0 and snapshot is not self._newest:
            shutil.rmtree(snapshot.path.parent)


def give_back_taken(task: asyncio.Task[Snapshot], *, give_back: Callable[[Snapshot], None]) -> None:
    if not task.cancelled() and task.exception() is None:
        give_back(task.result())


def remove(snapshot: Snapshot) -> None:
    shutil.rmtree(snapshot.path.parent, ignore_errors=True)


class Base:
    """The copy of the file alone, which snapshots have under names of their own."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._version: int | None = None

    def bring_to(self, version: int, source: Path) -> None:
        """Not while a snapshot reads it: then that one keeps it, and another one is made."""
        if version == self._version:
            return
        self._version = None
        if self.path.exists() and self.path.stat().st_nlink == 1:
            file_copy.refresh(source, self.path)
        else:
            self.path.unlink(missing_ok=True)
            file_copy.copy(source, self.path)
        self._version = version


def copy_whole(source: Path, target: Path) -> None:
    """With the log in the file.  Raises StoreError."""
    try:
        target.parent.mkdir(mode=0o700)
        file_copy.copy(source, target)
        if (log := migrate.log_of(source)).exists():
            file_copy.copy(log, migrate.log_of(target))
        with contextlib.closing(migrate.connect(target)) as connection:  # which reads the log
            connection.execute("CHECKPOINT")
    except OSError as error:
        raise StoreError(f"The database could not be copied: {error.strerror}.") from error
    except duckdb.Error as error:
        raise StoreError(f"The copy of the database cannot be written: {first_line(error)}") from error
