"""What is to be done once, however many collectors there are, by the one that is elected."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from llmenv_collector.lake.election import Election
from llmenv_collector.lake.housekeeping import Housekeeper

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_collector.lake.place import Place

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


class ElectedWork:
    """Create it in the event loop."""

    def __init__(self, place: Place, begin: Callable[[], list[asyncio.Task[Any]]]) -> None:
        """`begin` starts it, each time that this collector is elected."""
        self._begin = begin
        self._tasks: list[asyncio.Task[Any]] = []
        self._election = Election(place)
        self._housekeeper = Housekeeper(place, self._election)

    async def keep_up(self) -> None:
        """Until it is cancelled."""
        try:
            while True:
                self._look()
                await asyncio.sleep(LOOK_SECONDS)
        finally:
            self._end()
            self._housekeeper.end()
            self._election.withdraw()

    def _look(self) -> None:
        if self._election.is_elected and not self._tasks:
            logger.info("elected: compaction, notices and scheduled reports are done here")
            self._tasks = self._begin()
        elif not self._election.is_elected and self._tasks:
            logger.warning("not elected any more: another collector does what is to be done once")
            self._end()

    def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        self._tasks = []
