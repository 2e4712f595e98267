"""The acknowledgements of FleetService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceServicer

from llmenv_collector.serving.gate import PERSON

if TYPE_CHECKING:
    import grpc.aio

    from llmenv_collector.acknowledgements.desk import AcknowledgementDesk

    Context = grpc.aio.ServicerContext[Any, Any]

# The stubs are those of the synchronous API; gRPC names the methods and their arguments.
# ruff: noqa: N802, ARG002
# mypy: disable-error-code="override"


class AcknowledgementServicer(FleetServiceServicer):
    _acknowledgements: AcknowledgementDesk

    async def AcknowledgeFinding(
        self, request: fleet.AcknowledgeFindingRequest, context: Context
    ) -> fleet.AcknowledgeFindingResponse:
        return await self._acknowledgements.acknowledge(request, by=PERSON.get())

    async def WithdrawAcknowledgement(
        self, request: fleet.WithdrawAcknowledgementRequest, context: Context
    ) -> fleet.WithdrawAcknowledgementResponse:
        known = await self._acknowledgements.withdraw(request.acknowledgement_id, by=PERSON.get())
        return fleet.WithdrawAcknowledgementResponse(known_failure=known)

    async def ListAcknowledgements(
        self, request: fleet.ListAcknowledgementsRequest, context: Context
    ) -> fleet.ListAcknowledgementsResponse:
        return await self._acknowledgements.newest(limit=request.limit)
