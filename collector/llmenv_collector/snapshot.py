"""Read-only copies of the database, for statements that must not disturb the writer.

A copy equals the last checkpoint: checkpoints, not commits, wait while it is
made.  Where the file system can share blocks (reflink) it costs next to nothing.
A copy serves until something new was committed, and then still for ten times as
long as it took to make, so that copying never takes more than a tenth of the time.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import shutil
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.ids import new_id

from llmenv_collector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from llmenv_collector.store import Store

LINUX_FICLONE = 0x40049409
NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}
KEEP_FACTOR = 10


@dataclass
class Snapshot:
    """A copy of the database file."""

    path: Path
    taken_at: int
    """Microseconds since 1970: everything committed by then is in it."""
    commits: int
    keep_until: float
    """Monotonic, seconds."""
    users: int = 0


class Snapshots:
    """Lives in the event loop; its folder holds nothing else."""

    def __init__(self, store: Store, folder: Path) -> None:
        self._store = store
        self._folder = folder
        self._newest: Snapshot | None = None
        self._lock = asyncio.Lock()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, mode=0o700)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Snapshot]:
        """The copy stays until the block ends."""
        async with self._lock:
            snapshot = await self._fresh()
            snapshot.users += 1
        try:
            yield snapshot
        finally:
            snapshot.users -= 1
            self._drop_when_unused(snapshot)

    async def _fresh(self) -> Snapshot:
        newest = self._newest
        if newest and (newest.commits == self._store.commits or time.monotonic() < newest.keep_until):
            return newest
        self._newest = await self._take()
        if newest:
            self._drop_when_unused(newest)
        return self._newest

    async def _take(self) -> Snapshot:
        started = time.monotonic()
        path = self._folder / f"{new_id()}.duckdb"
        # Counted before: what is committed while the file is copied may not be in it.
        commits = self._store.commits
        taken_at = await asyncio.wrap_future(self._store.checkpoint_and_hold())
        try:
            await asyncio.to_thread(copy, self._store.path, path)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise StoreError(f"The database could not be copied for reading: {error.strerror}.") from error
        finally:
            await asyncio.wrap_future(self._store.release())
        ended = time.monotonic()
        return Snapshot(path, taken_at, commits, ended + KEEP_FACTOR * (ended - started))

    def _drop_when_unused(self, snapshot: Snapshot) -> None:
        if snapshot.users == 0 and snapshot is not self._newest:
            snapshot.path.unlink(missing_ok=True)


def copy(source: Path, target: Path) -> None:
    """Shares the blocks where the file system can, else copies them."""
    if not reflink(source, target):
        shutil.copyfile(source, target)


def reflink(source: Path, target: Path) -> bool:
    """Whether it worked.  macOS's own copyfile clones by itself, so only Linux needs the call."""
    if sys.platform != "linux":
        return False
    with source.open("rb") as original, target.open("wb") as clone:
        try:
            fcntl.ioctl(clone, LINUX_FICLONE, original.fileno())
        except OSError as error:
            if error.errno in NO_REFLINK:
                return False
            raise
    return True
