"""Keeps the changes of every series up to date, after ingest and in the background.

Once when it begins, everything that is stored is held against what was analysed, so that a
restart goes on where the last one was, and what was restored or ingested again is looked at
again.  After that, only what has arrived since.  A round takes a bounded number of histories,
in slices: the process of the statistics, which reports ask too, is never taken for long, and
after each slice the upkeep rests for as long as that took.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.changes import store as change_store
from llmenv_collector.changes.store import Answered, Due
from llmenv_collector.errors import AnalysisError, StoreError
from llmenv_collector.fleet_report.change_search import search_all

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

A_ROUND = 2_000
"""Histories a round at most; the others follow in the next."""
A_SLICE = 32
"""Histories that are read, judged and written in one go."""
LATE_MICROSECONDS = 600 * clock.MICROSECONDS
"""A record may be committed this long after it was received."""


class ChangeUpkeep:
    """Lives in the event loop; reads and waits in threads."""

    def __init__(self, store: Store, analysis: Analysis) -> None:
        self._store = store
        self._analysis = analysis
        self._looked_at = 0
        """What was received before is in `_waiting` or analysed; 0 before the first look."""
        self._waiting: dict[change_store.History, Due] = {}

    async def keep_up(self, seconds: float) -> None:
        """A round every so often, until it is cancelled."""
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.round()
            except (StoreError, AnalysisError) as error:
                logger.warning("changes are not up to date: %s", error)

    async def round(self) -> int:
        """How many histories were analysed.  After a StoreError or AnalysisError the next one goes on."""
        await self._look()
        chosen = list(self._waiting.values())[:A_ROUND]
        for start in range(0, len(chosen), A_SLICE):
            began = time.monotonic()
            await self._analyse(chosen[start : start + A_SLICE])
            await asyncio.sleep(time.monotonic() - began)
        return len(chosen)

    async def _look(self) -> None:
        """Finds what is due."""
        now = clock.now()
        if not self._looked_at:
            await asyncio.wrap_future(self._store.request(change_store.forget_gone))
        since = max(0, self._looked_at - LATE_MICROSECONDS)
        for due in await asyncio.to_thread(self._read_due, since):
            self._waiting[due.history] = due
        self._looked_at = now

    async def _analyse(self, due: Sequence[Due]) -> None:
        answers = await asyncio.to_thread(self._answer, due)
        await asyncio.wrap_future(self._store.request(change_store.keeping(answers)))
        for one in due:
            self._waiting.pop(one.history, None)

    def _read_due(self, since: int) -> list[Due]:
        with self._store.reader() as connection:
            return change_store.due_histories(connection, since=since)

    def _answer(self, due: Sequence[Due]) -> list[Answered]:
        with self._store.reader() as connection:
            held = change_store.read_held(connection, due)
        series = [one.series for of_history in held for one in of_history]
        found = iter(self._analysis.judge(search_all, series) if series else [])
        return [
            Answered(one, of_history, [next(found) for _ in of_history])
            for one, of_history in zip(due, held, strict=True)
        ]
