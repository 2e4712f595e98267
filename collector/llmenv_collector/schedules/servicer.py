"""The schedules of FleetService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceServicer

from llmenv_collector.serving.gate import PERSON

if TYPE_CHECKING:
    import grpc.aio

    from llmenv_collector.schedules.desk import ScheduleDesk

    Context = grpc.aio.ServicerContext[Any, Any]

# The stubs are those of the synchronous API; gRPC names the methods and their arguments.
# ruff: noqa: N802, ARG002
# mypy: disable-error-code="override"


class ScheduleServicer(FleetServiceServicer):
    _schedules: ScheduleDesk

    async def SetSchedule(
        self, request: fleet.SetScheduleRequest, context: Context
    ) -> fleet.SetScheduleResponse:
        return fleet.SetScheduleResponse(schedule=await self._schedules.set(request, by=PERSON.get()))

    async def RemoveSchedule(
        self, request: fleet.RemoveScheduleRequest, context: Context
    ) -> fleet.RemoveScheduleResponse:
        removed = await self._schedules.remove(request.name, by=PERSON.get())
        return fleet.RemoveScheduleResponse(schedule=removed)

    async def ListSchedules(
        self, request: fleet.ListSchedulesRequest, context: Context
    ) -> fleet.ListSchedulesResponse:
        return fleet.ListSchedulesResponse(schedules=await self._schedules.listed(request.name))
