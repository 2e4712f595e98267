"""When each person's token was last used: gathered here, and written once a minute for all of them."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import CollectorError

if TYPE_CHECKING:
    from llmenv_collector.identity.identity_file import Identity

logger = logging.getLogger(__name__)

SECONDS = 60.0


class TokenUses:
    """Lives in the event loop.  What a crash loses of it is a minute of times."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._newest: dict[str, int] = {}

    def note(self, token_id: str) -> None:
        self._newest[token_id] = clock.now()

    async def write(self) -> None:
        """All that was noted; what cannot be written now is written with the next."""
        noted, self._newest = self._newest, {}
        if not noted:
            return
        try:
            await asyncio.to_thread(self._store, noted)
        except CollectorError as error:
            self._newest = noted | self._newest
            logger.debug("uses of tokens wait: %s", error)

    async def write_every(self, seconds: float = SECONDS) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.write()

    def _store(self, noted: dict[str, int]) -> None:
        with self._identity.changes() as connection:
            connection.executemany(
                "UPDATE token SET last_used_at = max(coalesce(last_used_at, 0), ?) WHERE token_id = ?",
                [(used_at, token_id) for token_id, used_at in noted.items()],
            )
