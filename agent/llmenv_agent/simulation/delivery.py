"""Plays a slice of a fleet's history: many virtual agents in one event loop, each with its own stream."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_agent.errors import DeliveryError
from llmenv_agent.simulation import descriptors
from llmenv_agent.simulation.enrolling import enrolled
from llmenv_agent.simulation.histogram import Histogram
from llmenv_agent.simulation.pace import Pace
from llmenv_agent.simulation.progress import Progress
from llmenv_agent.simulation.slice_report import SliceReport, report_of
from llmenv_agent.simulation.virtual_agent import VirtualAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmenv_agent.simulation.outages import Outage
    from llmenv_agent.simulation.play import Play

_PRODUCERS = 2
"""Threads that make records at once: the others are the agents' own, for their spools."""
_PROGRESS_SECONDS = 5.0
_LAG_SECONDS = 0.1
_ASKED_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class Slice:
    """Every so many of a fleet's machines, from the one with index `first` on."""

    first: int = 0
    step: int = 1


@dataclass(kw_only=True)
class Delivery:
    """`begin` returns when the slices of all processes are ready."""

    play: Play
    part: Slice = dataclasses.field(default_factory=Slice)
    begin: Callable[[], object] = lambda: None
    on_progress: Callable[[Progress], None] = lambda _: None

    async def run(self) -> SliceReport:
        """Everything that happened, delivered or not."""
        agents = self._agents()
        try:
            if self.play.is_backlog:
                await asyncio.gather(*(asyncio.to_thread(agent.fill) for agent in agents))
            await asyncio.to_thread(self.begin)
            report = await self._timed(agents)
            return dataclasses.replace(report, agreed=await self._ask(agents)) if self.play.asks else report
        finally:
            await asyncio.gather(*(agent.close() for agent in agents), return_exceptions=True)

    def _agents(self) -> list[VirtualAgent]:
        fleet = self.play.fleet()
        machines = fleet.machines[self.part.first :: self.part.step]
        descriptors.require(len(machines), on_disk=self.play.on_disk)
        own = [enrolled(each, self.play.state_dir) for each in machines]
        return [VirtualAgent(each, fleet.records(each.machine), self.play) for each in own]

    async def _timed(self, agents: Sequence[VirtualAgent]) -> SliceReport:
        began_at, cpu_since, lag = time.monotonic(), time.process_time(), Histogram()
        beside = [
            asyncio.create_task(each)
            for each in (
                self._tell(agents),
                _feel_lag(lag),
                *(self._cut(agents, o) for o in self.play.outages),
            )
        ]
        try:
            await self._play(agents)
            return report_of(
                agents,
                began_at=began_at,
                ended_at=time.monotonic(),
                cpu_seconds=time.process_time() - cpu_since,
                lag=lag,
            )
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)

    async def _play(self, agents: Sequence[VirtualAgent]) -> None:
        connecting = asyncio.create_task(self._connect(agents))
        if self.play.rate is not None:
            await connecting  # what happens at a pace waits for the collector, never for its turn to connect
        pace = Pace(self.play.rate, self.play.begins_at, self.play.duration)
        turn = asyncio.Semaphore(_PRODUCERS)
        await asyncio.gather(connecting, *(agent.play(pace, turn) for agent in agents))
        await asyncio.gather(*(self._deliver(agent) for agent in agents))

    async def _connect(self, agents: Sequence[VirtualAgent]) -> None:
        since = time.monotonic()
        for place, agent in enumerate(agents):
            wait = since + self.play.connects_over * place / len(agents) - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            agent.connect()

    async def _deliver(self, agent: VirtualAgent) -> None:
        """What was not delivered is counted in the end."""
        with contextlib.suppress(DeliveryError):
            await agent.deliver(self.play.deliver_within)

    async def _ask(self, agents: Sequence[VirtualAgent]) -> int:
        """How many machines' collector says that it has all that they spooled."""
        turn = asyncio.Semaphore(_ASKED_AT_ONCE)

        async def ask(agent: VirtualAgent) -> bool:
            async with turn:
                return await agent.collector_agrees(self.play.deliver_within)

        return sum(await asyncio.gather(*(ask(agent) for agent in agents)))

    async def _cut(self, agents: Sequence[VirtualAgent], outage: Outage) -> None:
        await asyncio.sleep(outage.begins_after)
        cut_off = outage.cut_off(self.play.machines, seed=self.play.seed)
        lines = [each.line for each in agents if each.index in cut_off]
        await asyncio.gather(*(line.cut() for line in lines))
        await asyncio.sleep(outage.lasts)
        for line in lines:
            line.mend()

    async def _tell(self, agents: Sequence[VirtualAgent]) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            self.on_progress(sum((agent.progress for agent in agents), Progress()))


async def _feel_lag(lag: Histogram) -> None:
    """How late this process's event loop is, with everything that it times."""
    while True:
        since = time.monotonic()
        await asyncio.sleep(_LAG_SECONDS)
        lag.add(time.monotonic() - since - _LAG_SECONDS)
