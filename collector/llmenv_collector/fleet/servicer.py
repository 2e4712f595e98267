"""FleetService over gRPC: what people ask.  Each answer is computed off the event loop."""

from __future__ import annotations

import asyncio
import importlib.metadata
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_service_pb2 as fleet

from llmenv_collector import clock
from llmenv_collector.acknowledgements.desk import AcknowledgementDesk
from llmenv_collector.acknowledgements.servicer import AcknowledgementServicer
from llmenv_collector.delivery import ledger as delivery
from llmenv_collector.fleet import queries, whole_run
from llmenv_collector.fleet_commands.servicer import CommandServicer
from llmenv_collector.fleet_report.answers import Answers
from llmenv_collector.fleet_report.servicer import ReportServicer
from llmenv_collector.fleet_watch.servicer import FleetWatchServicer
from llmenv_collector.fleet_watch.watches import FleetWatches
from llmenv_collector.identity import labels
from llmenv_collector.imports.desk import ImportDesk
from llmenv_collector.imports.servicer import ImportServicer
from llmenv_collector.schedules.assignment import ScheduleAssignment
from llmenv_collector.schedules.book import ScheduleBook
from llmenv_collector.schedules.desk import ScheduleDesk
from llmenv_collector.schedules.servicer import ScheduleServicer
from llmenv_collector.serving.gate import PERSON
from llmenv_collector.sql.statements import Parameter, Question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc.aio

    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.fleet.machine_selection import Selector
    from llmenv_collector.fleet_commands.desk import CommandDesk
    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.labels import LabelCopy
    from llmenv_collector.sql.statements import Statements
    from llmenv_collector.storage.store import Store

    Context = grpc.aio.ServicerContext[Any, Any]

# The stubs are those of the synchronous API; gRPC names the methods and their arguments.
# ruff: noqa: N802, ARG002
# mypy: disable-error-code="override"


class FleetServicer(
    CommandServicer,
    ReportServicer,
    AcknowledgementServicer,
    ImportServicer,
    FleetWatchServicer,
    ScheduleServicer,
):
    def __init__(
        self,
        *,
        store: Store,
        identity: Identity,
        streams: Streams,
        statements: Statements,
        label_copy: LabelCopy,
        selector: Selector,
        analysis: Analysis,
        desk: CommandDesk,
        authority: Callable[[], Authority],
    ) -> None:
        super().__init__(desk)
        self._store = store
        self._identity = identity
        self._streams = streams
        self._statements = statements
        self._label_copy = label_copy
        self._selector = selector
        self._analysis = analysis
        self._authority = authority
        self._answers = Answers()
        self._acknowledgements = AcknowledgementDesk(store=store, identity=identity, selector=selector)
        self._imports = ImportDesk(store=store, identity=identity)
        book = ScheduleBook(identity)
        self.assignment = ScheduleAssignment(book=book, selector=selector, store=store, streams=streams)
        self._schedules = ScheduleDesk(
            book=book, assignment=self.assignment, selector=selector, store=store, streams=streams
        )
        self._watches = FleetWatches(store=store, identity=identity, streams=streams, selector=selector)

    @property
    def selector(self) -> Selector:
        """Who are meant by names, labels and conditions."""
        return self._selector

    async def WhoAmI(self, request: fleet.WhoAmIRequest, context: Context) -> fleet.WhoAmIResponse:
        token = PERSON.get()
        return fleet.WhoAmIResponse(
            role=token.role,
            label=token.label,
            expires_at=clock.to_timestamp(token.expires_at),
            collector_version=importlib.metadata.version("llmenv"),
            ca_pem=self._authority().trusted_pem.decode(),
        )

    async def ListMachines(
        self, request: fleet.ListMachinesRequest, context: Context
    ) -> fleet.ListMachinesResponse:
        presence = queries.Presence(connected=self._streams.connected(), last_seen=self._streams.last_seen())
        standing = await asyncio.to_thread(self._identity.standing)
        machines = await self._read(queries.list_machines, standing=standing, presence=presence)
        labels_of = await asyncio.to_thread(labels.of_machines, self._identity)
        for one in machines:
            one.labels.update(labels_of.get(one.machine.machine_id, {}))
        return fleet.ListMachinesResponse(machines=machines)

    async def ListRuns(self, request: fleet.ListRunsRequest, context: Context) -> fleet.ListRunsResponse:
        response: fleet.ListRunsResponse = await self._read(
            queries.list_runs, machine=request.machine, limit=request.limit
        )
        return response

    async def GetRun(self, request: fleet.GetRunRequest, context: Context) -> fleet.GetRunResponse:
        return fleet.GetRunResponse(run=await self._read(whole_run.get_run, run_id=request.run_id))

    async def GetDelivery(
        self, request: fleet.GetDeliveryRequest, context: Context
    ) -> fleet.GetDeliveryResponse:
        response: fleet.GetDeliveryResponse = await self._read(delivery.get_delivery, machine=request.machine)
        return response

    async def Query(
        self, request: fleet.QueryRequest, context: Context
    ) -> AsyncIterator[fleet.QueryResponse]:
        await self._label_copy.refresh()
        parameters = [bound_value(one) for one in request.parameters]
        person = PERSON.get().token_id
        question = Question(request.sql, parameters, request.max_rows, person)
        async for part in self._statements.run(question):
            yield fleet.QueryResponse(
                arrow_ipc=part.arrow_ipc,
                snapshot_at=clock.to_timestamp(part.snapshot_at),
                is_truncated=part.is_truncated,
                rows=part.rows,
            )

    async def _read(self, query: Callable[..., Any], **arguments: object) -> Any:
        """Runs a query in a thread, on a cursor of its own."""

        def read() -> Any:
            with self._store.reader() as connection:
                return query(connection, **arguments)

        return await asyncio.to_thread(read)


def bound_value(parameter: fleet.QueryParameter) -> Parameter:
    kind = parameter.WhichOneof("value")
    if kind is None:
        return Parameter(parameter.name, None, None)
    if kind == "time":
        return Parameter(parameter.name, kind, clock.from_timestamp(parameter.time))
    return Parameter(parameter.name, kind, getattr(parameter, kind))
