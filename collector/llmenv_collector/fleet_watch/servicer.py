"""The watch of FleetService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceServicer

from llmenv_collector.serving.gate import PERSON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio
    from llmenv.fleet.v1 import fleet_watch_pb2 as messages

    from llmenv_collector.fleet_watch.watches import FleetWatches

    Context = grpc.aio.ServicerContext[Any, Any]

# The stubs are those of the synchronous API; gRPC names the methods and their arguments.
# ruff: noqa: N802, ARG002
# mypy: disable-error-code="override"


class FleetWatchServicer(FleetServiceServicer):
    _watches: FleetWatches

    async def WatchFleet(
        self, request: messages.WatchFleetRequest, context: Context
    ) -> AsyncIterator[messages.WatchFleetResponse]:
        async for response in self._watches.responses(request, by=PERSON.get()):
            yield response
