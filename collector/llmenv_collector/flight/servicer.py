"""FlightService over gRPC, for drivers of Flight SQL: what they ask, and in which messages they want it.

Rows pass through as the worker wrote them: a FlightData is never taken apart here.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pyarrow as pa
from google.protobuf.message import DecodeError
from llmenv.arrow_flight import flight_service_pb2 as flight
from llmenv.arrow_flight import flight_sql_pb2 as sql

from llmenv_collector.errors import ForbiddenError, UnauthenticatedError, UsageError
from llmenv_collector.flight import catalog, messages
from llmenv_collector.flight.answers import Answers
from llmenv_collector.flight.asked import MAX_ROWS_HEADER, Asked, max_rows_of
from llmenv_collector.flight.commands import READ_ONLY, pack, unanswered, unpack
from llmenv_collector.flight.prepared import PreparedStatements
from llmenv_collector.identity import tokens
from llmenv_collector.serving import policy
from llmenv_collector.serving.gate import PERSON, secret_of
from llmenv_collector.sql.statements import MAX_STATEMENT_BYTES, Question

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.labels import LabelCopy
    from llmenv_collector.sql.statements import Statements
    from llmenv_collector.storage.store import Store

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "arrow.flight.protocol.FlightService"
MESSAGE_BYTES = 1 << 10
"""What one takes while it is kept, beside what it holds."""
ACTIONS = {
    "CreatePreparedStatement": "Prepares a SELECT with parameters.",
    "ClosePreparedStatement": "Forgets a prepared statement.",
    "CancelFlightInfo": "Ends a statement.",
    "CancelQuery": "Ends a statement; CancelFlightInfo is its newer name.",
}

# gRPC names the methods and passes their arguments.
# ruff: noqa: N802, ARG002


class FlightServicer:
    def __init__(
        self, *, store: Store, identity: Identity, statements: Statements, label_copy: LabelCopy
    ) -> None:
        self._store = store
        self._identity = identity
        self._statements = statements
        self._label_copy = label_copy
        self._answers = Answers(statements)
        self._prepared = PreparedStatements()
        self._views: dict[str, Any] | None = None
        self._actions: dict[str, Callable[[bytes], Any]] = {
            "CreatePreparedStatement": self._create_prepared,
            "ClosePreparedStatement": self._close_prepared,
            "CancelFlightInfo": self._cancel_flight,
            "CancelQuery": self._cancel_query,
        }

    async def Handshake(
        self, requests: AsyncIterator[flight.HandshakeRequest], context: Context
    ) -> AsyncIterator[flight.HandshakeResponse]:
        """The password of HTTP's Basic is a token; any name goes with it."""
        secret = password_of(dict(context.invocation_metadata() or ()))
        token = await asyncio.to_thread(tokens.role_token, self._identity, secret)
        if token.role not in policy.allowed(f"/{SERVICE}/DoGet"):
            raise ForbiddenError(f"SQL is for analysts and admins; the token is of a {token.role}.")
        context.set_trailing_metadata((("authorization", f"Bearer {secret}"),))
        yield flight.HandshakeResponse()

    async def GetFlightInfo(self, request: flight.FlightDescriptor, context: Context) -> flight.FlightInfo:
        command = unpack(request.cmd)
        schema = catalog.schema_of(command)
        if schema is not None:
            return info(request, schema.serialize().to_pybytes(), request.cmd)
        await self._label_copy.refresh()
        asked = self._asked(command, context)
        message = await self._answers.begin(asked, PERSON.get().token_id)
        ticket = pack(sql.TicketStatementQuery(statement_handle=asked.handle()))
        return info(request, messages.schema_of(message), ticket)

    async def PollFlightInfo(self, request: flight.FlightDescriptor, context: Context) -> flight.PollInfo:
        """Complete at once: rows are fetched while they are computed."""
        return flight.PollInfo(info=await self.GetFlightInfo(request, context), progress=1.0)

    async def GetSchema(self, request: flight.FlightDescriptor, context: Context) -> flight.SchemaResult:
        command = unpack(request.cmd)
        schema = catalog.schema_of(command)
        if schema is not None:
            return flight.SchemaResult(schema=schema.serialize().to_pybytes())
        asked = self._asked(command, context)
        described = await self._statements.describe(asked.question(PERSON.get().token_id))
        return flight.SchemaResult(schema=described.schema)

    async def DoGet(self, request: flight.Ticket, context: Context) -> AsyncIterator[bytes]:
        """Encoded FlightData."""
        command = unpack(request.ticket)
        if isinstance(command, sql.TicketStatementQuery):
            asked = Asked.from_handle(command.statement_handle)
            async for message in self._answers.fetch(asked, PERSON.get().token_id):
                yield message
        elif catalog.schema_of(command) is None:
            raise unanswered(command)
        else:
            views = await self._known_views() if isinstance(command, sql.CommandGetTables) else {}
            table = catalog.answer(command, views, statement_seconds=self._statements.seconds)
            for message in messages.of_table(table):
                yield message

    async def DoPut(
        self, requests: AsyncIterator[flight.FlightData], context: Context
    ) -> AsyncIterator[flight.PutResult]:
        """Values for a prepared statement."""
        received = [request async for request in limited(requests)]
        if not received:
            raise UsageError("A command is wanted.")
        command = unpack(received[0].flight_descriptor.cmd)
        if not isinstance(command, sql.CommandPreparedStatementQuery):
            raise UsageError(READ_ONLY)
        prepared = self._prepared.get(command.prepared_statement_handle, PERSON.get().token_id)
        prepared.arrow_parameters = messages.stream_of(received)
        handle = command.prepared_statement_handle
        result = sql.DoPutPreparedStatementResult(prepared_statement_handle=handle)
        yield flight.PutResult(app_metadata=result.SerializeToString())

    async def DoExchange(
        self, requests: AsyncIterator[flight.FlightData], context: Context
    ) -> AsyncIterator[flight.FlightData]:
        async for _ in limited(requests):
            raise UsageError(READ_ONLY)
        for nothing in list[flight.FlightData]():
            yield nothing

    async def DoAction(self, request: flight.Action, context: Context) -> AsyncIterator[flight.Result]:
        act = self._actions.get(request.type)
        if act is None:
            raise UsageError(f"There is no action {request.type[:100]!r}; there are {', '.join(ACTIONS)}.")
        body = await act(request.body)
        if body is not None:
            yield flight.Result(body=body)

    async def ListActions(self, request: flight.Empty, context: Context) -> AsyncIterator[flight.ActionType]:
        for name, description in ACTIONS.items():
            yield flight.ActionType(type=name, description=description)

    async def ListFlights(
        self, request: flight.Criteria, context: Context
    ) -> AsyncIterator[flight.FlightInfo]:
        """None: what can be asked is in the catalog."""
        for nothing in list[flight.FlightInfo]():
            yield nothing

    def _asked(self, command: Any, context: Context) -> Asked:
        headers = dict(context.invocation_metadata() or ())
        max_rows = max_rows_of(str(headers.get(MAX_ROWS_HEADER, "")))
        if isinstance(command, sql.CommandStatementQuery):
            return Asked.new(command.query, max_rows=max_rows)
        if isinstance(command, sql.CommandPreparedStatementQuery):
            prepared = self._prepared.get(command.prepared_statement_handle, PERSON.get().token_id)
            return Asked.new(prepared.sql, arrow_parameters=prepared.arrow_parameters, max_rows=max_rows)
        raise unanswered(command)

    async def _create_prepared(self, body: bytes) -> bytes:
        request = expect(body, sql.ActionCreatePreparedStatementRequest)
        person = PERSON.get().token_id
        described = await self._statements.describe(Question(request.query, person=person))
        parameters = pa.schema([pa.field(name, pa.string()) for name in described.parameters])
        result = sql.ActionCreatePreparedStatementResult(
            prepared_statement_handle=self._prepared.add(request.query, person),
            dataset_schema=described.schema,
            parameter_schema=parameters.serialize().to_pybytes() if described.parameters else b"",
        )
        return pack(result)

    async def _close_prepared(self, body: bytes) -> None:
        request = expect(body, sql.ActionClosePreparedStatementRequest)
        self._prepared.close(request.prepared_statement_handle, PERSON.get().token_id)

    async def _cancel_flight(self, body: bytes) -> bytes:
        try:
            request = flight.CancelFlightInfoRequest.FromString(body)
        except DecodeError as error:
            raise UsageError("The request is not a message of this action.") from error
        status = flight.CANCEL_STATUS_CANCELLED
        if not await self._cancel(request.info):
            status = flight.CANCEL_STATUS_NOT_CANCELLABLE
        return flight.CancelFlightInfoResult(status=status).SerializeToString()

    async def _cancel_query(self, body: bytes) -> bytes:
        request = expect(body, sql.ActionCancelQueryRequest)
        try:
            wanted = flight.FlightInfo.FromString(request.info)
        except DecodeError as error:
            raise UsageError("The request is not a message of this action.") from error
        result = sql.ActionCancelQueryResult.CANCEL_RESULT_CANCELLED
        if not await self._cancel(wanted):
            result = sql.ActionCancelQueryResult.CANCEL_RESULT_NOT_CANCELLABLE
        return pack(sql.ActionCancelQueryResult(result=result))

    async def _cancel(self, wanted: flight.FlightInfo) -> bool:
        """Whether a statement of the caller's was under way."""
        if not wanted.endpoint:
            raise UsageError("The flight has no endpoint.")
        ticket = unpack(wanted.endpoint[0].ticket.ticket)
        if not isinstance(ticket, sql.TicketStatementQuery):
            return False
        return await self._answers.cancel(Asked.from_handle(ticket.statement_handle), PERSON.get().token_id)

    async def _known_views(self) -> dict[str, Any]:
        """They are those of this program, so they are read once."""

        def read() -> dict[str, Any]:
            with self._store.reader() as connection:
                return catalog.read_views(connection)

        if self._views is None:
            self._views = await asyncio.to_thread(read)
        return self._views


def info(descriptor: flight.FlightDescriptor, schema: bytes, ticket: bytes) -> flight.FlightInfo:
    endpoint = flight.FlightEndpoint(ticket=flight.Ticket(ticket=ticket))
    metadata = {name.decode(): value.decode() for name, value in (read_schema(schema).metadata or {}).items()}
    return flight.FlightInfo(
        schema=schema,
        flight_descriptor=descriptor,
        endpoint=[endpoint],
        total_records=-1,
        total_bytes=-1,
        ordered=True,
        app_metadata=json.dumps(metadata).encode() if metadata else b"",
    )


def read_schema(schema: bytes) -> Any:
    return pa.ipc.read_schema(pa.py_buffer(schema))


def expect(body: bytes, kind: Any) -> Any:
    """The body of an action.  Raises UsageError for another message."""
    message = unpack(body)
    if not isinstance(message, kind):
        raise UsageError(f"This action wants {kind.__name__}, not {type(message).__name__}.")
    return message


async def limited(requests: AsyncIterator[flight.FlightData]) -> AsyncIterator[flight.FlightData]:
    """Values for parameters, not data."""
    size = 0
    async for request in requests:
        size += request.ByteSize() + MESSAGE_BYTES
        if size > MAX_STATEMENT_BYTES:
            raise UsageError(f"Parameters may have {MAX_STATEMENT_BYTES:,} bytes.")
        yield request


def password_of(headers: dict[str, Any]) -> str:
    """In a header of HTTP's Basic authentication."""
    kind, _, content = str(headers.get("authorization", "")).partition(" ")
    try:
        decoded = base64.b64decode(content.strip(), validate=True).decode() if kind.lower() == "basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        decoded = ""
    password = secret_of(decoded.partition(":")[2])
    if not password:
        raise UnauthenticatedError("A token is needed, as the password: any user name goes with it.")
    return password


def add_to_server(servicer: FlightServicer, server: Any) -> None:
    """As the generated function does, but that DoGet answers with encoded messages."""
    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    handlers = {}
    for method in flight.DESCRIPTOR.services_by_name["FlightService"].methods:
        behaviour = getattr(servicer, method.name, None)
        if behaviour is not None:
            make: Any = kinds[method.client_streaming, method.server_streaming]
            request = getattr(flight, method.input_type.name)
            response = getattr(flight, method.output_type.name)
            handlers[method.name] = make(
                behaviour,
                request_deserializer=request.FromString,
                response_serializer=None if method.name == "DoGet" else response.SerializeToString,
            )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
