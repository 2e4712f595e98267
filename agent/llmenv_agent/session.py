"""One stream to the collector, from Hello to its end.

The reader takes what the collector says; the writer sends records from the watermark on, and a heartbeat when
there is nothing else. Records are only ever taken from the spool, so a stream that breaks loses nothing: the
next one goes on after the watermark that Welcome names.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import enum
import logging
import time
from typing import TYPE_CHECKING, TypeAlias

from llmenv import __version__, failpoints
from llmenv.fleet.v1 import agent_service_pb2 as wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import grpc
    from llmenv.fleet.v1 import agent_service_pb2_grpc, machine_pb2

    from llmenv_agent.described import Described
    from llmenv_agent.spool import Spool
    from llmenv_agent.tally import Tally

    Call: TypeAlias = grpc.aio.StreamStreamCall[wire.ConnectRequest, wire.ConnectResponse]

log = logging.getLogger(__name__)

PROTOCOL_REVISION = 1
CAPABILITIES = ("authorities", "cases", "commands", "environments")
SCHEDULES = "schedules"
DEFAULT_HEARTBEAT_SECONDS = 30.0
MAX_IN_FLIGHT_RECORDS = 1_024
GOODBYE_SECONDS = 2.0


class End(enum.Enum):
    """How a stream ended that did not fail."""

    STOPPED = "stopped"
    DRAINED = "drained"
    FORKED = "forked"
    TRUST_CHANGED = "trust changed"
    CLOSED = "closed"


class Session:
    """Runs once. `wake` is set from outside when there are new records; `stopping` ends it with a Goodbye."""

    def __init__(
        self,
        spool: Spool,
        *,
        machine: machine_pb2.Machine,
        wake: asyncio.Event,
        stopping: asyncio.Event,
        on_command: Callable[[wire.Command], Awaitable[None]],
        on_progress: Callable[[], None],
        on_doubled: Callable[[bool], None],
        on_waiting: Callable[[str], None],
        on_authorities: Callable[[str], Awaitable[None]],
        trusted_pins: Sequence[str],
        on_schedules: Callable[[wire.Schedules], Awaitable[None]] | None,
        start_id: str,
        is_running: Callable[[], bool],
        described: Described,
        tally: Tally,
    ) -> None:
        self._spool = spool
        self._machine = machine
        self._wake = wake
        self._stopping = stopping
        self._on_command = on_command
        self._on_progress = on_progress
        self._on_doubled = on_doubled
        self._on_waiting = on_waiting
        self._on_authorities = on_authorities
        self._trusted_pins = trusted_pins
        self._on_schedules = on_schedules
        self._start_id = start_id
        self._is_running = is_running
        self._described = described
        self._tally = tally
        self._end = End.CLOSED
        self._sent = 0
        self._acknowledged = 0
        self._heartbeat_seconds = DEFAULT_HEARTBEAT_SECONDS
        self._to_confirm: list[int] = []
        self.reconnect_after_seconds = 0.0
        self.welcomed_at: float | None = None

    async def run(self, stub: agent_service_pb2_grpc.AgentServiceAsyncStub) -> End:
        """Raises AioRpcError when the stream fails, ProtocolError when the collector says what cannot be."""
        self._tally.begin()
        call = stub.Connect()
        hello = self._hello()
        reader = asyncio.create_task(self._read(call, hello))
        writer = asyncio.create_task(self._write(call, hello))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if not reader.done():
                await asyncio.wait({reader}, timeout=GOODBYE_SECONDS)
        finally:
            # Also where this task is cancelled: nothing of a stream outlives it.
            call.cancel()
            writer.cancel()
            self._tally.ended()
            outcomes = await asyncio.gather(reader, writer, return_exceptions=True)
        return self._conclude(*outcomes)

    def _conclude(self, reader: BaseException | None, writer: BaseException | None) -> End:
        """The reader knows the stream's own status; the writer only that it cannot write."""
        if self._stopping.is_set():
            return End.STOPPED
        if isinstance(reader, Exception):
            raise reader
        if isinstance(writer, Exception) and not isinstance(writer, asyncio.InvalidStateError):
            raise writer
        return self._end

    def _hello(self) -> wire.Hello:
        marks = self._spool.marks()
        hello = wire.Hello(
            machine_id=marks.machine_id,
            spool_id=marks.spool_id,
            protocol_revision=PROTOCOL_REVISION,
            oldest_protocol_revision=PROTOCOL_REVISION,
            capabilities=[*CAPABILITIES, *([SCHEDULES] if self._on_schedules else [])],
            agent_version=__version__,
            machine=self._machine,
            first_sequence=marks.first_sequence,
            last_sequence=marks.last_sequence,
            ledger=self._spool.ledger(),
            start_id=self._start_id,
            trusted_pins=self._trusted_pins,
            environment_hashes=self._described.hashes(),
        )
        hello.machine.machine_id = marks.machine_id
        hello.sent_at.GetCurrentTime()
        return hello

    async def _read(self, call: Call, hello: wire.Hello) -> None:
        async for response in call:
            if response.WhichOneof("message") == "drain":
                self._end = End.DRAINED
                self.reconnect_after_seconds = response.drain.reconnect_after_seconds
                return
            await self._hear(response, hello)
            if self._end in {End.FORKED, End.TRUST_CHANGED}:
                return

    async def _hear(self, response: wire.ConnectResponse, hello: wire.Hello) -> None:
        match response.WhichOneof("message"):
            case "welcome":
                await self._be_welcome(response.welcome, hello)
            case "acknowledged":
                await self._be_acknowledged(response.acknowledged.watermark)
            case "rejected":
                await self._be_rejected(response.rejected)
            case "environments_wanted":
                wanted = response.environments_wanted.environment_hashes
                await asyncio.to_thread(self._described.repeat, tuple(wanted))
            case _:
                await self._pass_on(response)

    async def _pass_on(self, response: wire.ConnectResponse) -> None:
        """What others deal with."""
        match response.WhichOneof("message"):
            case "command":
                await self._on_command(response.command)
            case "schedules" if self._on_schedules is not None:
                await self._on_schedules(response.schedules)
            case "heartbeat":
                self._on_doubled(response.heartbeat.is_doubled)
            case "authorities":
                await self._on_authorities(response.authorities.ca_pem)
                self._end = End.TRUST_CHANGED
            case "waiting":
                self._on_waiting(response.waiting.reason)

    async def _be_welcome(self, welcome: wire.Welcome, hello: wire.Hello) -> None:
        clock_offset = _clock_offset(hello, welcome)  # before anything that takes time
        if not await asyncio.to_thread(
            self._spool.can_continue_from, welcome.watermark, digest=welcome.digest
        ):
            self._end = End.FORKED
            spool_id = await asyncio.to_thread(self._spool.fork, welcome.watermark)
            log.warning(
                "this spool is a copy, or the collector lost more than it holds; it goes on as %s", spool_id
            )
            return
        await asyncio.to_thread(self._spool.resume_at, welcome.watermark)
        await asyncio.to_thread(self._spool.note_clock_offset, clock_offset)
        # Only now: of a copied spool these would be another copy's records.
        for rejected in welcome.rejections:
            await self._be_rejected(rejected)
        self._sent = self._acknowledged = welcome.watermark
        self._heartbeat_seconds = welcome.heartbeat_seconds or DEFAULT_HEARTBEAT_SECONDS
        self._on_doubled(welcome.is_doubled)
        self._on_waiting("")
        self.welcomed_at = time.monotonic()
        self._tally.welcomed()
        self._tally.was_acknowledged(welcome.watermark)
        log.info("connected; the collector has %d of %d records", welcome.watermark, hello.last_sequence)
        self._progress()

    async def _be_acknowledged(self, watermark: int) -> None:
        failpoints.reach("agent.acknowledged.received")
        self._tally.was_acknowledged(watermark)
        await asyncio.to_thread(self._spool.acknowledge, watermark)
        self._acknowledged = max(self._acknowledged, watermark)
        self._progress()

    async def _be_rejected(self, rejected: wire.Rejected) -> None:
        await asyncio.to_thread(self._spool.reject, rejected.sequence, reason=rejected.reason)
        log.error(
            "the collector refused record %d for good: %s",
            rejected.sequence,
            rejected.reason,
            extra={"record_id": rejected.record_id},
        )
        self._to_confirm.append(rejected.sequence)
        self._progress()

    def _progress(self) -> None:
        self._wake.set()
        self._on_progress()

    async def _write(self, call: Call, hello: wire.Hello) -> None:
        await call.write(wire.ConnectRequest(hello=hello))
        while not self._stopping.is_set():
            self._wake.clear()
            if self.welcomed_at is not None and await self._send_something(call):
                continue
            await self._rest(call)
        await call.write(wire.ConnectRequest(goodbye=wire.Goodbye(reason="stopping")))
        await call.done_writing()

    async def _send_something(self, call: Call) -> bool:
        if self._to_confirm:
            confirmed = wire.RejectionConfirmed(sequence=self._to_confirm.pop(0))
            await call.write(wire.ConnectRequest(rejection_confirmed=confirmed))
            return True
        if self._sent - self._acknowledged >= MAX_IN_FLIGHT_RECORDS:
            return False
        records = await asyncio.to_thread(self._spool.offer_after, self._sent)
        if not records:
            return False
        failpoints.reach("agent.send.before")
        await call.write(wire.ConnectRequest(records=wire.RecordBatch(records=records)))
        failpoints.reach("agent.send.after")
        self._sent = records[-1].sequence
        self._tally.sent(self._sent)
        return True

    async def _rest(self, call: Call) -> None:
        """Until there is something to do; a heartbeat when there was nothing for the interval."""
        try:
            await asyncio.wait_for(self._wake.wait(), self._heartbeat_seconds)
        except TimeoutError:
            if self.welcomed_at is not None:
                heartbeat = wire.Heartbeat(ledger=self._spool.ledger(), is_running_checks=self._is_running())
                heartbeat.sent_at.GetCurrentTime()
                await call.write(wire.ConnectRequest(heartbeat=heartbeat))


def _clock_offset(hello: wire.Hello, welcome: wire.Welcome) -> float:
    """Collector's clock minus this one's, seconds, by the four times of an exchange (RFC 5905, section 8)."""
    now = dt.datetime.now(dt.UTC)
    there = hello.sent_at.ToDatetime(tzinfo=dt.UTC), welcome.received_at.ToDatetime(tzinfo=dt.UTC)
    back = welcome.sent_at.ToDatetime(tzinfo=dt.UTC), now
    return ((there[1] - there[0]) + (back[0] - back[1])).total_seconds() / 2
