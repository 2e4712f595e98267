"""One agent's stream, from its Hello to its end, without knowing the transport.

Promises: nothing is acknowledged before it is durable; acknowledgements come in
order; at most WINDOW deliveries of one stream wait for the store, and no more than
the room allows: beyond that nothing is read, so that the sender has to wait.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmenv import failpoints
from llmenv.fleet.v1 import agent_service_pb2
from llmenv.fleet.v1.agent_service_pb2 import ConnectRequest, ConnectResponse

from llmenv_collector import clock
from llmenv_collector.delivery import circumstances, environment_gaps
from llmenv_collector.delivery.group import Rejection, Sighting
from llmenv_collector.delivery.ingest import (
    MAX_SHOWN,
    OF_ANOTHER_MACHINE,
    OLDEST_PROTOCOL_REVISION,
    PROTOCOL_REVISION,
    Arrival,
    is_uuid,
)
from llmenv_collector.delivery.room import Size
from llmenv_collector.errors import (
    CollectorError,
    ForbiddenError,
    OutOfSequenceError,
    SilentError,
    StoreError,
    UnauthenticatedError,
    UnspokenRevisionError,
    UsageError,
)
from llmenv_collector.fleet_commands import store as command_store
from llmenv_collector.serving import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager

    from llmenv_collector.delivery.room import Room
    from llmenv_collector.delivery.sightings import Sightings
    from llmenv_collector.delivery.streams import Stream, Streams
    from llmenv_collector.delivery.waiting import Delivered
    from llmenv_collector.identity.trust import Trust
    from llmenv_collector.schedules.assignment import ScheduleAssignment
    from llmenv_collector.storage.store import SpoolState, Store

logger = logging.getLogger(__name__)

WINDOW = 4
MAX_BATCH_RECORDS = 4_096
CAPABILITIES = ("authorities", "cases", "commands", "environments", "schedules")
RECONNECT_SECONDS = (1.0, 10.0)
APPROVED_SECONDS = (0.0, 1.0)
WAITING = "This machine waits for approval: `llmenv-collector machine approve` lets it deliver."


@dataclass(frozen=True)
class House:
    """What all sessions of a collector share."""

    store: Store
    streams: Streams
    room: Room
    sightings: Sightings
    heartbeat_seconds: float
    version: str
    schedules: ScheduleAssignment | None = None
    """None where nothing is scheduled."""
    trust: Trust | None = None
    """None where agents are told nothing of the authority."""
    hello_seconds: float = 10.0
    """A stream that does not begin with Hello within this time is ended."""


@dataclass(frozen=True)
class Pending:
    """A delivery that is not acknowledged yet."""

    delivery: asyncio.Future[Delivered]
    since: float
    """Monotonic, seconds."""


@dataclass
class Session:
    """The collector's side of one stream of one machine."""

    house: House
    machine_id: str
    send: Callable[[ConnectResponse], Awaitable[None]]
    is_pending: bool = False
    """Whether the machine waits for approval."""
    _hello: agent_service_pb2.Hello = field(default_factory=agent_service_pb2.Hello)
    _pending: asyncio.Queue[Pending] = field(default_factory=lambda: asyncio.Queue(WINDOW))
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _has_asked: bool = False
    _has_refused: bool = False

    async def serve(self, requests: AsyncIterator[ConnectRequest]) -> None:
        """Returns at the agent's Goodbye or the collector's Drain.  Raises CollectorError to refuse."""
        received_at = clock.now()
        first = await self._first(requests)
        if first is None or first.WhichOneof("message") != "hello":
            raise UsageError("The first message of a stream must be Hello.")
        self._hello = first.hello
        self._require_acceptable()
        with self._stream() as stream:
            if self.is_pending:
                await self._wait_for_approval(requests, stream)
                return
            await self._welcome(received_at)
            try:
                await self._converse(requests, stream)
            except* CollectorError as refusals:
                raise first_of(refusals) from None
            finally:
                self._see_last()

    async def _first(self, requests: AsyncIterator[ConnectRequest]) -> ConnectRequest | None:
        try:
            async with asyncio.timeout(self.house.hello_seconds):
                return await anext(requests, None)
        except TimeoutError:
            raise SilentError(f"No Hello came within {self.house.hello_seconds:g} s.") from None

    def _stream(self) -> AbstractContextManager[Stream]:
        return self.house.streams.open(
            spool_id=self._hello.spool_id, machine_id=self.machine_id, start_id=self._hello.start_id
        )

    def _require_acceptable(self) -> None:
        hello = self._hello
        if hello.machine_id != self.machine_id:
            raise UnauthenticatedError(
                f"Hello is of machine {hello.machine_id[:MAX_SHOWN] or '(none)'},"
                f" the certificate of {self.machine_id}."
            )
        if not is_uuid(hello.spool_id):
            raise UsageError(f"spool_id is {hello.spool_id[:MAX_SHOWN]!r}, which is not a UUID.")
        oldest = hello.oldest_protocol_revision or hello.protocol_revision
        if hello.protocol_revision < OLDEST_PROTOCOL_REVISION or oldest > PROTOCOL_REVISION:
            raise UnspokenRevisionError(
                f"The agent speaks revisions {oldest} to {hello.protocol_revision},"
                f" this collector {OLDEST_PROTOCOL_REVISION} to {PROTOCOL_REVISION}: upgrade the older one."
            )

    async def _wait_for_approval(self, requests: AsyncIterator[ConnectRequest], stream: Stream) -> None:
        """Takes nothing; an agent keeps what it has, and begins anew as soon as the machine is approved."""
        self.house.streams.saw(self.machine_id)
        await self._say(ConnectResponse(waiting=agent_service_pb2.Waiting(reason=WAITING)))
        logger.info("waits for approval")
        reading = asyncio.ensure_future(anext(requests, None))
        ends = [reading] + [
            asyncio.ensure_future(event.wait())
            for event in (stream.approved, stream.ended, self.house.streams.draining)
        ]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in ends:
                one.cancel()
        stream.require_current()
        if reading.done() and not reading.cancelled():
            request = reading.result()
            if request is not None and request.WhichOneof("message") != "goodbye":
                raise ForbiddenError(WAITING)
            return
        await self._drain(APPROVED_SECONDS if stream.approved.is_set() else RECONNECT_SECONDS)

    async def _welcome(self, received_at: int) -> None:
        failpoints.reach("collector.welcome", error=StoreError)
        state = await asyncio.wrap_future(self.house.store.spool_state(self._hello.spool_id))
        mark = state.watermark
        if mark is not None and mark.machine_id != self.machine_id:
            raise ForbiddenError(f"Spool {mark.spool_id} belongs to another machine: begin a new one.")
        await asyncio.wrap_future(self.house.store.see(self._first_sighting()))
        await self._say(ConnectResponse(welcome=self._welcome_message(state, received_at)))
        await self._ask_when_caught_up(mark.sequence if mark is not None else 0)
        await self._tell_authorities()
        logger.info("connected, agent %s", self._hello.agent_version[:MAX_SHOWN])

    def _welcome_message(self, state: SpoolState, received_at: int) -> agent_service_pb2.Welcome:
        return agent_service_pb2.Welcome(
            watermark=state.watermark.sequence if state.watermark else 0,
            digest=state.watermark.digest if state.watermark else b"",
            protocol_revision=min(PROTOCOL_REVISION, self._hello.protocol_revision),
            capabilities=CAPABILITIES,
            heartbeat_seconds=self.house.heartbeat_seconds,
            rejections=[rejected(one) for one in state.rejections],
            received_at=clock.to_timestamp(received_at),
            sent_at=clock.to_timestamp(clock.now()),
            collector_version=self.house.version,
            is_doubled=self.house.streams.doubles.are_at_work(self.machine_id),
        )

    async def _ask_when_caught_up(self, watermark: int) -> None:
        """Once a stream: for environments that went with records which nobody holds any more."""
        if self._has_asked or watermark < self._hello.last_sequence or not self._hello.environment_hashes:
            return
        self._has_asked = True
        wanted = await asyncio.to_thread(self._lacking_environments)
        if wanted:
            asking = agent_service_pb2.EnvironmentsWanted(environment_hashes=wanted)
            await self._say(ConnectResponse(environments_wanted=asking))

    def _lacking_environments(self) -> list[str]:
        with self.house.store.reader() as connection:
            return environment_gaps.lacking(
                connection, machine_id=self.machine_id, hashes=self._hello.environment_hashes
            )

    async def _converse(self, requests: AsyncIterator[ConnectRequest], stream: Stream) -> None:
        draining = self.house.streams.draining
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(requests, stream))
            drained = group.create_task(draining.wait())
            others = [
                group.create_task(work)
                for work in (
                    self._acknowledge(),
                    self._beat(),
                    self._watch(stream),
                    self._hand_down(stream),
                    self._say_schedules(stream),
                )
            ]
            await asyncio.wait([reading, drained], return_when=asyncio.FIRST_COMPLETED)
            await self._pending.join()
            if draining.is_set():
                await self._drain()
            for task in (reading, drained, *others):
                task.cancel()

    async def _say(self, response: ConnectResponse) -> None:
        """gRPC takes one message at a time, and a slow reader makes one last."""
        async with self._turn:
            await self.send(response)

    async def _drain(self, seconds: tuple[float, float] = RECONNECT_SECONDS) -> None:
        delay = random.uniform(*seconds)  # noqa: S311 (spreads reconnects, guards nothing)
        await self._say(ConnectResponse(drain=agent_service_pb2.Drain(reconnect_after_seconds=delay)))

    async def _read(self, requests: AsyncIterator[ConnectRequest], stream: Stream) -> None:
        async for request in requests:
            if self.house.streams.draining.is_set():
                return
            kind = request.WhichOneof("message")
            self.house.streams.saw(self.machine_id)
            if kind == "records":
                await self._deliver(request.records, stream)
            elif kind == "heartbeat":
                self.house.sightings.note(
                    self._sighting(request.heartbeat.ledger), spool_id=self._hello.spool_id
                )
            elif kind == "rejection_confirmed":
                await self._confirm(request.rejection_confirmed.sequence)
            elif kind == "hello":
                raise UsageError("Hello may be said once.")
            elif kind == "goodbye":
                return

    async def _deliver(self, batch: agent_service_pb2.RecordBatch, stream: Stream) -> None:
        if len(batch.records) > MAX_BATCH_RECORDS:
            raise UsageError(
                f"A batch has {len(batch.records)} records; at most {MAX_BATCH_RECORDS} are accepted."
            )
        failpoints.reach("collector.received", error=StoreError)
        received_at, since = clock.now(), time.monotonic()
        arrivals = [
            Arrival(
                spool_id=self._hello.spool_id,
                machine_id=self.machine_id,
                protocol_revision=self._hello.protocol_revision,
                sequence=spooled.sequence,
                record=spooled.record,
                received_at=received_at,
            )
            for spooled in batch.records
        ]
        if not arrivals:
            return
        size = Size(len(arrivals), sum(len(arrival.record) for arrival in arrivals))
        await self.house.room.enter(self.machine_id, size)
        try:
            # No await from here on: the Welcome of a newer stream tells what was delivered before it.
            stream.require_current()
            delivery = asyncio.wrap_future(self.house.store.deliver(arrivals))
        except CollectorError:
            self.house.room.leave(self.machine_id, size)
            raise
        delivery.add_done_callback(lambda _: self.house.room.leave(self.machine_id, size))
        await self._pending.put(Pending(delivery, since))

    async def _confirm(self, sequence: int) -> None:
        await asyncio.wrap_future(self.house.store.confirm_rejection(self._hello.spool_id, sequence))

    async def _acknowledge(self) -> None:
        """Raises OutOfSequenceError after what came before the jump was acknowledged."""
        while True:
            pending = await self._pending.get()
            try:
                done = await pending.delivery
                failpoints.reach("collector.acknowledge.before", error=StoreError)
                log_rejections(done.rejections)
                await self._note_refused(done.rejections)
                for one in done.rejections:
                    await self._say(ConnectResponse(rejected=rejected(one)))
                await self._say(
                    ConnectResponse(acknowledged=agent_service_pb2.Acknowledged(watermark=done.watermark))
                )
                metrics.ACKNOWLEDGE_SECONDS.observe(time.monotonic() - pending.since)
                failpoints.reach("collector.acknowledge.after", error=StoreError)
                if done.jump:
                    raise OutOfSequenceError(done.jump)
                await self._ask_when_caught_up(done.watermark)
            finally:
                self._pending.task_done()

    async def _beat(self) -> None:
        """Says that the collector is there."""
        while True:
            await asyncio.sleep(self.house.heartbeat_seconds)
            heartbeat = agent_service_pb2.Heartbeat(
                sent_at=clock.to_timestamp(clock.now()),
                is_doubled=self.house.streams.doubles.are_at_work(self.machine_id),
            )
            await self._say(ConnectResponse(heartbeat=heartbeat))
            await self._tell_authorities()

    async def _note_refused(self, rejections: Sequence[Rejection]) -> None:
        """Once a stream: a machine that brings what another one is said to have measured."""
        foreign = [one.reason for one in rejections if one.reason.startswith(OF_ANOTHER_MACHINE)]
        if foreign and self.house.trust is not None and not self._has_refused:
            self._has_refused = True
            await self.house.trust.refused(self.machine_id, foreign[0])

    async def _tell_authorities(self) -> None:
        """An agent that trusts something else stores it and comes again."""
        trust = self.house.trust
        if trust is None or "authorities" not in self._hello.capabilities:
            return
        await trust.note(self.machine_id, self._hello.trusted_pins)
        if news := await asyncio.to_thread(trust.news, self._hello.trusted_pins):
            await self._say(ConnectResponse(authorities=agent_service_pb2.Authorities(ca_pem=news)))

    async def _watch(self, stream: Stream) -> None:
        await stream.ended.wait()
        stream.require_current()

    async def _hand_down(self, stream: Stream) -> None:
        """Tells the machine what it is to do, each thing once a stream."""
        told: set[str] = set()
        while "commands" in self._hello.capabilities:
            stream.commanded.clear()
            due = functools.partial(command_store.hand_down, machine_id=self.machine_id, now=clock.now())
            for command in await asyncio.wrap_future(self.house.store.request(due)):
                if command.command_id not in told:
                    failpoints.reach("collector.command.told", error=StoreError)
                    await self._say(ConnectResponse(command=command))
                    told.add(command.command_id)
            await stream.commanded.wait()

    async def _say_schedules(self, stream: Stream) -> None:
        """Tells the machine what to run at set times: with each stream, and whenever that changes."""
        if self.house.schedules is None or "schedules" not in self._hello.capabilities:
            return
        said: agent_service_pb2.Schedules | None = None
        while True:
            stream.rescheduled.clear()
            told = self.house.schedules.told(self.machine_id)
            if told is not None and told != said:
                failpoints.reach("collector.schedules.told", error=StoreError)
                await self._say(ConnectResponse(schedules=told))
                said = told
            await stream.rescheduled.wait()

    def _first_sighting(self) -> Sighting:
        machine_rows = list(circumstances.of_machine(self._hello.machine, self.machine_id))
        return replace(
            self._sighting(self._hello.ledger),
            agent_version=self._hello.agent_version,
            facts=machine_rows[0][1] if machine_rows else None,
        )

    def _sighting(self, ledger: agent_service_pb2.Ledger) -> Sighting:
        now = self.house.streams.saw(self.machine_id)
        return Sighting(
            machine_id=self.machine_id,
            seen_at=now,
            doubled_at=now if self.house.streams.doubles.are_at_work(self.machine_id) else None,
            ledger=self._ledger_row(ledger, now),
        )

    def _ledger_row(self, ledger: agent_service_pb2.Ledger, now: int) -> dict[str, object]:
        totals = ("minted", "stored", "rejected", "waiting", "dropped")
        return {
            "spool_id": self._hello.spool_id,
            "machine_id": self.machine_id,
            **{name: getattr(ledger, name) for name in totals},
            "said_at": now,
        }

    def _see_last(self) -> None:
        """The time of the last message outlives this process; nobody waits for it to be written."""
        seen_at = self.house.streams.last_seen().get(self.machine_id)
        self.house.sightings.note(Sighting(machine_id=self.machine_id, seen_at=seen_at), spool_id="")


def rejected(rejection: Rejection) -> agent_service_pb2.Rejected:
    return agent_service_pb2.Rejected(
        sequence=rejection.sequence, record_id=rejection.record_id, reason=rejection.reason
    )


def log_rejections(rejections: Sequence[Rejection]) -> None:
    """One line for all: a machine whose every record is refused must not fill the log."""
    if rejections:
        first = rejections[0]
        message = "rejected %d records, the first: %s"
        logger.warning(message, len(rejections), first.reason, extra={"record_id": first.record_id})


def first_of(refusals: BaseExceptionGroup[CollectorError]) -> CollectorError:
    """The first refusal in a group that may hold groups."""
    error: BaseException = refusals
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, CollectorError):
        raise error
    return error
