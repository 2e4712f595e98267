"""The standard health service, tied to whether the store can write; and what brings it back.

NOT_SERVING stands on what needs a write: the whole ("") and the agents' and enrolment's
services.  People's questions are answered on a full disk too, so theirs stays SERVING.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2
from llmenv.fleet.v1 import (
    agent_service_pb2,
    collector_service_pb2,
    enrollment_service_pb2,
    fleet_service_pb2,
)

from llmenv_collector.errors import StoreError

if TYPE_CHECKING:
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def names(*modules: Any) -> tuple[str, ...]:
    return tuple(
        service.full_name for module in modules for service in module.DESCRIPTOR.services_by_name.values()
    )


WRITING = ("", *names(agent_service_pb2, enrollment_service_pb2))
READING = names(fleet_service_pb2, collector_service_pb2)


class Health:
    """Lives in the event loop."""

    def __init__(self, servicer: Any, store: Store) -> None:
        self._servicer = servicer
        self._store = store
        self._obstacle: str | None = None

    async def watch(self) -> None:
        """Until it is cancelled."""
        for service in READING:
            await self._servicer.set(service, SERVING)
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        obstacle = await asyncio.to_thread(self._store.obstacle)
        if obstacle != self._obstacle:
            await self._change(obstacle)
        if obstacle:
            with contextlib.suppress(StoreError):
                await asyncio.wrap_future(self._store.try_again())

    async def _change(self, obstacle: str) -> None:
        if obstacle:
            logger.error("nothing can be stored: %s", obstacle)
        elif self._obstacle:
            logger.warning("records are stored again")
        self._obstacle = obstacle
        for service in WRITING:
            await self._servicer.set(service, NOT_SERVING if obstacle else SERVING)
