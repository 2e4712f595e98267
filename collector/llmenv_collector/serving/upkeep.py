"""What a running collector does that nobody asks for, each a task that ends when it is cancelled."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from llmenv_collector.changes.upkeep import ChangeUpkeep
from llmenv_collector.compaction.upkeep import Compaction
from llmenv_collector.delivery.sightings import LONGEST_SECONDS
from llmenv_collector.identity.identity_watch import IdentityWatch
from llmenv_collector.retention.policies import policies_of
from llmenv_collector.retention.upkeep import Retention
from llmenv_collector.scheduled.made_report import ReportMaker
from llmenv_collector.scheduled.report_work import ReportWork
from llmenv_collector.serving.health import Health

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator

    from llmenv_collector.fleet.servicer import FleetServicer
    from llmenv_collector.serving.collector import Collector
    from llmenv_collector.serving.gate import Gate

logger = logging.getLogger(__name__)


class Upkeep:
    """Create it in the event loop; `end` it, and `write_last` when nothing is served any more."""

    def __init__(self, collector: Collector, *, fleet: FleetServicer, gate: Gate, health: Any) -> None:
        self._collector = collector
        self._fleet = fleet
        self._gate = gate
        self._health = Health(health, collector.store)
        self._watch = IdentityWatch(
            identity=collector.identity,
            store=collector.store,
            streams=collector.streams,
            calls=gate.calls,
        )
        self._tasks = begun(self._works())
        lake = collector.store.lake
        if lake is None:
            self._tasks += self._begun_once()
        else:
            from llmenv_collector.lake.elected_work import ElectedWork

            self._tasks += begun([ElectedWork(lake.place, self._begun_once).keep_up()])

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()

    async def write_last(self) -> None:
        """What waited for the next round."""
        await self._collector.sightings.write()
        await self._gate.uses.write()
        if self._collector.store.lake is None:  # there the elected one copies what is audited
            await self._watch.copy_last()

    def _works(self) -> Iterator[Coroutine[Any, Any, None]]:
        collector, settings = self._collector, self._collector.settings
        yield self._health.watch()
        yield collector.sightings.write_every(min(LONGEST_SECONDS, settings.heartbeat_seconds))
        yield self._gate.uses.write_every()
        yield self._fleet.assignment.keep_up()
        yield self._watch.keep_up()

    def _begun_once(self) -> list[asyncio.Task[Any]]:
        """What a store needs once, by whichever collector."""
        return [*begun(self._works_done_once()), *self._collector.notices.begin()]

    def _works_done_once(self) -> Iterator[Coroutine[Any, Any, None]]:
        collector, settings = self._collector, self._collector.settings
        yield self._watch.keep_copying()
        yield ChangeUpkeep(collector.store, collector.analysis).keep_up(settings.changes_seconds)
        yield self._retention().keep_up(settings.retention_seconds)
        if collector.reports:
            yield self._scheduled_reports().keep_on_time()

    def _retention(self) -> Retention:
        """A lake's housekeeper compacts it."""
        store, settings = self._collector.store, self._collector.settings
        compaction = Compaction(store, percent=settings.compact_percent) if store.lake is None else None
        return Retention(store, policies_of(settings), compaction)

    def _scheduled_reports(self) -> ReportWork:
        return ReportWork(
            self._collector.reports,
            store=self._collector.store,
            identity=self._collector.identity,
            notices=self._collector.notices,
            make=ReportMaker(self._fleet).make,
        )


def begun(works: Iterable[Coroutine[Any, Any, None]]) -> list[asyncio.Task[Any]]:
    tasks = [asyncio.create_task(work) for work in works]
    for task in tasks:
        task.add_done_callback(say_end)
    return tasks


def say_end(task: asyncio.Task[Any]) -> None:
    """Work that ends by a fault of its own does not end unseen."""
    if not task.cancelled() and (error := task.exception()) is not None:
        name = getattr(task.get_coro(), "__qualname__", task.get_name())
        logger.error("%s is not done any more until a restart", name, exc_info=error)
