"""What people's statements read of a lake: the lake itself, read-only, as of one of its commits.

Nothing is copied.  A small file holds the views, so that a statement's process need not lay them.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import BackupError
from llmenv_collector.lake import only_a_file
from llmenv_collector.snapshots.snapshot import NAME, Snapshot, Snapshots

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from llmenv_collector.lake.database import LakeReading
    from llmenv_collector.storage.store import Store


class LakeSnapshots(Snapshots):
    """Lives in the event loop; its folder holds nothing else."""

    def __init__(self, store: Store, folder: Path, lake: LakeReading) -> None:
        super().__init__(store, folder)
        self._lake = lake
        self._path = folder / NAME
        lake.write_views(self._path)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Snapshot]:
        """As of the last commit of any collector."""
        taken_at = clock.now()
        commit = await asyncio.to_thread(self._lake.last_commit)
        yield Snapshot(self._path, taken_at, commit, keep_until=0.0, lake=self._lake.place.shown(commit))

    @asynccontextmanager
    async def whole(self) -> AsyncIterator[Snapshot]:
        raise BackupError(only_a_file.SENTENCE)
        yield  # which makes it a generator
