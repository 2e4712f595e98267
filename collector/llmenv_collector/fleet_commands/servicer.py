"""The commands of FleetService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceServicer

from llmenv_collector.serving.gate import PERSON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from llmenv_collector.fleet_commands.desk import CommandDesk

    Context = grpc.aio.ServicerContext[Any, Any]

# The stubs are those of the synchronous API; gRPC names the methods and their arguments.
# ruff: noqa: N802, ARG002
# mypy: disable-error-code="override"


class CommandServicer(FleetServiceServicer):
    def __init__(self, desk: CommandDesk) -> None:
        self._desk = desk

    async def IssueCommand(
        self, request: fleet.IssueCommandRequest, context: Context
    ) -> fleet.IssueCommandResponse:
        return await self._desk.issue(request, by=PERSON.get())

    async def CancelCommand(
        self, request: fleet.CancelCommandRequest, context: Context
    ) -> fleet.CancelCommandResponse:
        return fleet.CancelCommandResponse(commands=await self._desk.cancel(request.id, by=PERSON.get()))

    async def ListCommands(
        self, request: fleet.ListCommandsRequest, context: Context
    ) -> fleet.ListCommandsResponse:
        commands = await self._desk.newest(batch_id=request.batch_id, limit=request.limit)
        return fleet.ListCommandsResponse(commands=commands)

    async def WatchCommand(
        self, request: fleet.WatchCommandRequest, context: Context
    ) -> AsyncIterator[fleet.WatchCommandResponse]:
        watch = await self._desk.watch(request.id)
        async for step in watch.steps():
            yield step
