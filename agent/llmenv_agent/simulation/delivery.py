"""Plays the history of a fleet: many virtual agents in one event loop, each with its own stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_agent.errors import DeliveryError
from llmenv_agent.simulation.measured_delivery import measure
from llmenv_agent.simulation.pace import Pace
from llmenv_agent.simulation.virtual_agent import VirtualAgent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmenv_agent.simulation.enrolling import Enrolled
    from llmenv_agent.simulation.fleet import Fleet
    from llmenv_agent.simulation.measured_delivery import MeasuredDelivery

_PRODUCERS = 2
"""Threads that make records at once: the others are the agents' own, for their spools."""
_PROGRESS_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Delivery:
    """`rate` as `pace.parse_rate` gives it; `deliver_within` seconds are for what waits at the end."""

    fleet: Fleet
    enrolled: Sequence[Enrolled]
    on_disk: bool
    rate: float | None
    deliver_within: float
    on_progress: Callable[[str], None] = lambda _: None

    async def play(self) -> MeasuredDelivery:
        """Everything that happened, delivered or not."""
        since, cpu_since = time.monotonic(), time.process_time()
        agents = [
            VirtualAgent(each, self.fleet.records(each.machine), on_disk=self.on_disk)
            for each in self.enrolled
        ]
        telling = asyncio.create_task(self._tell(agents))
        try:
            pace, turn = Pace(self.rate, self.fleet.begins_at), asyncio.Semaphore(_PRODUCERS)
            await asyncio.gather(*(agent.play(pace, turn) for agent in agents))
            await asyncio.gather(*(self._deliver(agent) for agent in agents))
            return measure(
                agents,
                seconds=time.monotonic() - since,
                cpu_seconds=time.process_time() - cpu_since,
            )
        finally:
            telling.cancel()
            await asyncio.gather(telling, *(agent.close() for agent in agents), return_exceptions=True)

    async def _deliver(self, agent: VirtualAgent) -> None:
        """What was not delivered is counted in the end."""
        with contextlib.suppress(DeliveryError):
            await agent.deliver(self.deliver_within)

    async def _tell(self, agents: Sequence[VirtualAgent]) -> None:
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            spooled, delivered = (
                sum(each) for each in zip(*((a.appended, a.delivered) for a in agents), strict=True)
            )
            self.on_progress(f"{spooled:,} records spooled, {delivered:,} delivered")
