"""Every call passes here first: the policy's row for its RPC, then who calls.

A machine is known by its client certificate, a person by a bearer token.
A request is read here too, so that garbage is answered like any other mistake.
No peer gets more than its share, and a person who sends in parts may not pause for long.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from llmenv import logs, printed_token
from llmenv.first_contact import TIME_HEADER

from llmenv_collector import clock
from llmenv_collector.errors import (
    CollectorError,
    ForbiddenError,
    GoneError,
    SilentError,
    UnauthenticatedError,
    UsageError,
)
from llmenv_collector.identity import tokens
from llmenv_collector.identity.acting import ACTOR, Actor, actor
from llmenv_collector.identity.authority import MACHINE_URI
from llmenv_collector.identity.identity_file import audit
from llmenv_collector.identity.standing import State
from llmenv_collector.identity.token_uses import TokenUses
from llmenv_collector.serving import peer_limits, policy, refusal
from llmenv_collector.serving.open_calls import OpenCalls
from llmenv_collector.serving.peer_limits import Peer, PeerLimits
from llmenv_collector.serving.policy import Caller

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.identity.tokens import Token

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0
"""Between two parts of what a person sends."""
PERSON: ContextVar[Token] = ContextVar("PERSON")
"""The role token of the call that is being served."""
MACHINE: ContextVar[str] = ContextVar("MACHINE")
"""The machine id of the call that is being served."""
STATE: ContextVar[State] = ContextVar("STATE", default=State.ENROLLED)
"""Of that machine, when the call began."""


class Gate(grpc.aio.ServerInterceptor):
    """Wraps every handler of the server."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self.limits = PeerLimits()
        self.uses = TokenUses(identity)
        self.calls = OpenCalls()
        self._known: set[bytes] = set()
        """SHA-256 of tokens that were good before: a stranger at the same address locks nobody out."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        return guarded(handler, self, handler_call_details.method)

    async def admit(self, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Peer:
        """Sets who calls, or raises UnauthenticatedError, ForbiddenError or NoRoomError."""
        callers = policy.allowed(method)
        origin = origin_of(context)
        ACTOR.set(Actor("nobody known", origin))
        if Caller.ANYONE in callers:
            return Peer(origin, peer_limits.ADDRESS)
        if Caller.MACHINE in callers:
            machine_id = certified_machine(context)
            ACTOR.set(Actor(f"machine {machine_id}", origin))
            STATE.set(await asyncio.to_thread(self._identity.admit, machine_id))
            MACHINE.set(machine_id)
            logs.bind(machine_id=machine_id)
            return Peer(machine_id, peer_limits.MACHINE)
        token = await self._person(bearer_of(context), stranger=Peer(origin, peer_limits.ADDRESS))
        ACTOR.set(Actor(token.written(), origin))
        if token.role not in callers:
            wanted = " or ".join(sorted(callers)) or "nobody"
            raise ForbiddenError(f"This is for {wanted}; the token is of a {token.role}.")
        PERSON.set(token)
        return Peer(token.token_id, peer_limits.PERSON)

    async def note_refusal(self, method: str, error: CollectorError) -> None:
        """In the audit; of one address a few at once, then one an hour, so that nobody fills the file."""
        peer = Peer(f"refused {actor().origin}", peer_limits.REFUSED)
        if not self.limits.has_credit(peer):
            return
        self.limits.spend(peer)
        try:
            await asyncio.to_thread(note_refused, self._identity, method, refusal.sentence_of(error))
        except CollectorError as trouble:
            logger.warning("a refusal is not in the audit: %s", trouble)

    async def _person(self, shown: str, *, stranger: Peer) -> Token:
        """Whoever shows what is no token too often from one address is refused without a look at it."""
        try:
            secret = secret_of(shown)
        except UnauthenticatedError:
            self.limits.spend(stranger)
            raise
        digest = tokens.digest(secret)
        if digest not in self._known and not self.limits.has_credit(stranger):
            self.limits.spend(stranger)
        try:
            token = await asyncio.to_thread(tokens.role_token, self._identity, secret)
        except UnauthenticatedError:
            self._known.discard(digest)
            self.limits.spend(stranger)
            raise
        self._known.add(digest)
        self.uses.note(token.token_id)
        return token


def certified_machine(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The machine id in the client's certificate, which the TLS handshake has verified."""
    identities = [identity.decode() for identity in context.peer_identities() or ()]
    machines = [text.removeprefix(MACHINE_URI) for text in identities if text.startswith(MACHINE_URI)]
    if not machines:
        raise UnauthenticatedError("A machine's certificate is needed: use the agents' port after enrolment.")
    return machines[0]


def origin_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """The address that a call came from, without its port: "192.0.2.7" or "2001:db8::7"."""
    _, _, address = unquote(context.peer()).partition(":")
    return address.rpartition(":")[0].strip("[]")


def note_refused(identity: Identity, method: str, sentence: str) -> None:
    with identity.changes() as connection:
        audit(connection, "call.refused", method, sentence, is_refused=True)


def bearer_of(context: grpc.aio.ServicerContext[Any, Any]) -> str:
    """As it was shown: a printed token or its secret."""
    metadata = dict(context.invocation_metadata() or ())
    kind, _, token = str(metadata.get("authorization", "")).partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise UnauthenticatedError("A token is needed: `llmenv login` stores one.")
    return token.strip()


def secret_of(token: str) -> str:
    """Drivers have no login that takes a printed token apart: it is as good as the secret in it."""
    if not token.startswith(printed_token.PREFIX):
        return token
    try:
        return printed_token.PrintedToken.parse(token).secret
    except ValueError as error:
        raise UnauthenticatedError(str(error)) from error


@asynccontextmanager
async def translated(
    context: grpc.aio.ServicerContext[Any, Any], *, gate: Gate | None = None, method: str = ""
) -> AsyncIterator[None]:
    """The collector's errors as status codes; `gate` notes who was refused."""
    try:
        yield
    except GoneError as error:
        logger.info("ended: %s", error)
    except CollectorError as error:
        logger.info("refused: %s: %s", refusal.status_of(error).name, refusal.sentence_of(error))
        if gate is not None and isinstance(error, (UnauthenticatedError, ForbiddenError)):
            await gate.note_refusal(method, error)
        await refusal.refuse(context, error)


def parsed(deserialize: Callable[[bytes], Any], content: bytes) -> Any:
    """gRPC itself would say UNKNOWN to what is no message.  Raises UsageError."""
    try:
        return deserialize(content)
    except DecodeError as error:
        raise UsageError("The request is not a message of this call.") from error


async def each_parsed(
    deserialize: Callable[[bytes], Any], contents: AsyncIterator[bytes], *, patience: float | None = None
) -> AsyncIterator[Any]:
    """Raises SilentError where nothing comes for `patience` seconds."""
    remaining = aiter(contents)
    while True:
        try:
            async with asyncio.timeout(patience):
                content = await anext(remaining)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise SilentError(f"Nothing more of the request came within {patience:g} s.") from None
        yield parsed(deserialize, content)


def guarded(handler: Any, gate: Gate, method: str) -> Any:
    """The same handler behind the gate."""
    behaviour = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    # A machine's stream is silent between two heartbeats, and its Hello has a deadline of its own.
    patience = None if Caller.MACHINE in policy.allowed(method) else PATIENCE_SECONDS
    read = functools.partial(each_parsed, patience=patience) if handler.request_streaming else parsed

    async def single(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        async with translated(context, gate=gate, method=method):
            peer = await gate.admit(method, context)
            with gate.limits.call(peer), gate.calls.open(PERSON.get(None)):
                return await behaviour(read(handler.request_deserializer, request), context)

    async def several(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
        await context.send_initial_metadata(((TIME_HEADER, str(clock.now())),))
        async with translated(context, gate=gate, method=method):
            peer = await gate.admit(method, context)
            with gate.limits.call(peer), gate.calls.open(PERSON.get(None)):
                answer = behaviour(read(handler.request_deserializer, request), context)
                if inspect.isawaitable(answer):
                    await answer
                    return
                async for response in answer:
                    yield response

    kinds = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }
    make: Any = kinds[handler.request_streaming, handler.response_streaming]
    return make(
        several if handler.response_streaming else single,
        response_serializer=handler.response_serializer,
    )
