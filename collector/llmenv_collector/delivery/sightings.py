"""What machines say of themselves in heartbeats, gathered and written a few times a minute for all of them.

Only the newest word of each spool counts, so a fleet's heartbeats cost one
transaction an interval, however large it is.  What a crash loses of them is said
again with the next heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from llmenv_collector.errors import StoreError

if TYPE_CHECKING:
    from llmenv_collector.delivery.sighting import Sighting
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

LONGEST_SECONDS = 5.0


class Sightings:
    """Lives in the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest: dict[tuple[str, str], Sighting] = {}

    def note(self, sighting: Sighting, *, spool_id: str) -> None:
        """To be written soon; takes the place of what the spool said before."""
        self._newest[sighting.machine_id, spool_id] = sighting

    async def write(self) -> None:
        """All that was noted; what cannot be written now is written with the next."""
        noted, self._newest = self._newest, {}
        if not noted:
            return
        try:
            await asyncio.wrap_future(self._store.see(*noted.values()))
        except StoreError as error:
            self._newest = noted | self._newest
            logger.debug("heartbeats wait: %s", error)

    async def write_every(self, seconds: float) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            await self.write()
