"""The import of FleetService over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceServicer

from llmenv_collector.serving.gate import PERSON

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from llmenv_collector.imports.desk import ImportDesk

    Context = grpc.aio.ServicerContext[Any, Any]

# The stubs are those of the synchronous API; gRPC names the methods and their arguments.
# ruff: noqa: N802, ARG002
# mypy: disable-error-code="override"


class ImportServicer(FleetServiceServicer):
    _imports: ImportDesk

    async def ImportMeasurements(
        self, request_iterator: AsyncIterator[fleet.ImportMeasurementsRequest], context: Context
    ) -> fleet.ImportMeasurementsResponse:
        return await self._imports.take_in(request_iterator, by=PERSON.get())

    async def ListImports(
        self, request: fleet.ListImportsRequest, context: Context
    ) -> fleet.ListImportsResponse:
        return await self._imports.newest(limit=request.limit)

    async def WithdrawImport(
        self, request: fleet.WithdrawImportRequest, context: Context
    ) -> fleet.WithdrawImportResponse:
        imported = await self._imports.withdraw(request.import_id, by=PERSON.get())
        return fleet.WithdrawImportResponse(imported=imported)
