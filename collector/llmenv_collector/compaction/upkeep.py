"""Writes the database anew when much of its file is free, while the collector serves.

The writer is held up at the end alone: for what came while the copy was made, and to open it instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.compaction.compact_copy import CompactCopy, remove
from llmenv_collector.delivery.group import first_line
from llmenv_collector.errors import StoreError

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

LEAST_FREE_BYTES = 64 << 20
"""Less is not worth it."""


class Compaction:
    """Lives in the event loop; copies in a thread."""

    def __init__(self, store: Store, *, percent: int, least_free_bytes: int = LEAST_FREE_BYTES) -> None:
        """`percent` of the file has to be free."""
        self._store = store
        self._path = store.path.with_name(store.path.name + ".compact")
        # Of a collector that died over it: it may be as large as the database.
        remove(self._path)
        self._percent = percent
        self._least = least_free_bytes

    async def round(self) -> bool:
        """Whether the file was written anew; a lake has none.  Raises StoreError."""
        if not self._store.path.exists():
            return False
        used, free = await asyncio.to_thread(self._blocks)
        if free < self._least or 100 * free < self._percent * (used + free):
            return False
        if self._store.free_bytes() < 2 * used:
            logger.warning("the database is not compacted: its disk has no room for a copy")
            return False
        return await self._compact()

    async def _compact(self) -> bool:
        await asyncio.wrap_future(self._store.hold())
        try:
            before = path_bytes(self._store.path)
            copy = await asyncio.to_thread(self._copied, self._path)
            done = await asyncio.wrap_future(self._store.exchange(copy))
        finally:
            await asyncio.wrap_future(self._store.release())
            await asyncio.to_thread(remove, self._path)
        if done:
            after = path_bytes(self._store.path)
            logger.info("the database was compacted from %d to %d MB", before // 10**6, after // 10**6)
        return done

    def _copied(self, path: Path) -> CompactCopy:
        try:
            copy = CompactCopy(path)
            with contextlib.ExitStack() as undo:
                undo.callback(copy.close)
                with self._store.reader() as source:
                    copy.fill(source)
                undo.pop_all()
        except duckdb.Error as error:
            raise StoreError(f"The database could not be compacted: {first_line(error)}") from error
        return copy

    def _blocks(self) -> tuple[int, int]:
        """Used and free, bytes."""
        with self._store.reader() as connection:
            ((size, used, free),) = connection.execute(
                "SELECT block_size, used_blocks, free_blocks FROM pragma_database_size()"
                " WHERE database_name = current_database()"
            ).fetchall()
        return size * used, size * free


def path_bytes(path: Path) -> int:
    return path.stat().st_size
