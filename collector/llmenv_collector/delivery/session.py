"""One agent's stream, from its Hello to its end, without knowing the transport.

Promises: nothing is acknowledged before it is durable; acknowledgements come in
order; at most WINDOW deliveries of one stream wait for the store, and no more than
the room allows: beyond that nothing is read, so that the sender has to wait.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from llmenv import failpoints
from llmenv.fleet.v1 import agent_service_pb2
from llmenv.fleet.v1.agent_service_pb2 import ConnectRequest, ConnectResponse

from llmenv_collector import clock
from llmenv_collector.delivery import environment_gaps
from llmenv_collector.delivery.acceptance import MAX_SHOWN, OF_ANOTHER_MACHINE
from llmenv_collector.delivery.acknowledging import Acknowledging, Pending
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.room import Size
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.delivery.telling import Telling, Voice
from llmenv_collector.delivery.welcome import rejected, require_acceptable, state_of, welcome_of
from llmenv_collector.errors import (
    CollectorError,
    ForbiddenError,
    OutOfSequenceError,
    SilentError,
    StoreError,
    UsageError,
)
from llmenv_collector.serving import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from llmenv_collector.delivery.house import House
    from llmenv_collector.delivery.sieve import Rejection
    from llmenv_collector.delivery.streams import Stream

logger = logging.getLogger(__name__)

MAX_BATCH_RECORDS = 4_096
RECONNECT_SECONDS = (1.0, 10.0)
APPROVED_SECONDS = (0.0, 1.0)
WAITING = "This machine waits for approval: `llmenv-collector machine approve` lets it deliver."


@dataclass(slots=True)
class Session:
    """The collector's side of one stream of one machine."""

    house: House
    machine_id: str
    send: Callable[[ConnectResponse], Awaitable[None]]
    is_pending: bool = False
    """Whether the machine waits for approval."""
    _hello: agent_service_pb2.Hello = field(default_factory=agent_service_pb2.Hello)
    _has_asked: bool = False
    _has_refused: bool = False
    _voice: Voice = field(init=False)

    def __post_init__(self) -> None:
        self._voice = Voice(self.send)

    async def serve(self, requests: AsyncIterator[ConnectRequest]) -> None:
        """Returns at the agent's Goodbye or the collector's Drain.  Raises CollectorError to refuse."""
        received_at = clock.now()
        first = await self._first(requests)
        if first is None or first.WhichOneof("message") != "hello":
            raise UsageError("The first message of a stream must be Hello.")
        self._hello = first.hello
        require_acceptable(self._hello, machine_id=self.machine_id)
        with self.house.streams.open(
            spool_id=self._hello.spool_id,
            machine_id=self.machine_id,
            start_id=self._hello.start_id,
            is_pending=self.is_pending,
        ) as stream:
            if self.is_pending:
                await self._wait_for_approval(requests, stream)
                return
            telling = Telling(self.house, self._hello, stream=stream, voice=self._voice)
            await self._welcome(received_at)
            await telling.note_trust()
            logger.info("connected, agent %s", self._hello.agent_version[:MAX_SHOWN])
            try:
                await self._converse(requests, stream, telling)
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

    async def _wait_for_approval(self, requests: AsyncIterator[ConnectRequest], stream: Stream) -> None:
        """Takes nothing; an agent keeps what it has, and begins anew as soon as the machine is approved."""
        self.house.streams.saw(self.machine_id)
        await self._voice.say(ConnectResponse(waiting=agent_service_pb2.Waiting(reason=WAITING)))
        logger.info("waits for approval")
        reading = asyncio.ensure_future(anext(requests, None))
        try:
            await asyncio.wait((reading, stream.ending()), return_when=asyncio.FIRST_COMPLETED)
        finally:
            reading.cancel()
        stream.require_current()
        if reading.done() and not reading.cancelled():
            request = reading.result()
            if request is not None and request.WhichOneof("message") != "goodbye":
                raise ForbiddenError(WAITING)
            return
        await self._drain(RECONNECT_SECONDS if stream.is_pending else APPROVED_SECONDS)

    async def _welcome(self, received_at: int) -> None:
        failpoints.reach("collector.welcome", error=StoreError)
        state = await state_of(self.house, self._hello)
        await asyncio.wrap_future(self.house.store.see(self._first_sighting()))
        welcome = welcome_of(self.house, self._hello, state, received_at=received_at)
        await self._voice.say(ConnectResponse(welcome=welcome))
        await self._ask_when_caught_up(welcome.watermark)

    async def _ask_when_caught_up(self, watermark: int) -> None:
        """Once a stream: for environments that went with records which nobody holds any more."""
        if self._has_asked or watermark < self._hello.last_sequence or not self._hello.environment_hashes:
            return
        self._has_asked = True
        wanted = await asyncio.to_thread(self._lacking_environments)
        if wanted:
            asking = agent_service_pb2.EnvironmentsWanted(environment_hashes=wanted)
            await self._voice.say(ConnectResponse(environments_wanted=asking))

    def _lacking_environments(self) -> list[str]:
        with self.house.store.reader() as connection:
            return environment_gaps.lacking(
                connection, machine_id=self.machine_id, hashes=self._hello.environment_hashes
            )

    async def _converse(
        self, requests: AsyncIterator[ConnectRequest], stream: Stream, telling: Telling
    ) -> None:
        async with asyncio.TaskGroup() as group:
            acknowledging = Acknowledging(self._acknowledge, group=group)
            tasks = [
                group.create_task(self._read(requests, stream, acknowledging)),
                group.create_task(telling.run()),
            ]
            await asyncio.wait((tasks[0], stream.ending()), return_when=asyncio.FIRST_COMPLETED)
            stream.require_current()
            await acknowledging.join()
            if self.house.streams.draining.is_set():
                await self._drain()
            for task in tasks:
                task.cancel()

    async def _drain(self, seconds: tuple[float, float] = RECONNECT_SECONDS) -> None:
        delay = random.uniform(*seconds)  # noqa: S311 (spreads reconnects, guards nothing)
        await self._voice.say(ConnectResponse(drain=agent_service_pb2.Drain(reconnect_after_seconds=delay)))

    async def _read(
        self, requests: AsyncIterator[ConnectRequest], stream: Stream, acknowledging: Acknowledging
    ) -> None:
        async for request in requests:
            if self.house.streams.draining.is_set():
                return
            kind = request.WhichOneof("message")
            self.house.streams.saw(self.machine_id)
            if kind == "records":
                await self._deliver(request.records, stream, acknowledging)
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

    async def _deliver(
        self, batch: agent_service_pb2.RecordBatch, stream: Stream, acknowledging: Acknowledging
    ) -> None:
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
        await acknowledging.put(Pending(delivery, since))

    async def _confirm(self, sequence: int) -> None:
        await asyncio.wrap_future(self.house.store.confirm_rejection(self._hello.spool_id, sequence))

    async def _acknowledge(self, pending: Pending) -> None:
        """Raises OutOfSequenceError after what came before the jump was acknowledged."""
        done = await pending.delivery
        failpoints.reach("collector.acknowledge.before", error=StoreError)
        log_rejections(done.rejections)
        await self._note_refused(done.rejections)
        for one in done.rejections:
            await self._voice.say(ConnectResponse(rejected=rejected(one)))
        await self._voice.say(
            ConnectResponse(acknowledged=agent_service_pb2.Acknowledged(watermark=done.watermark))
        )
        metrics.ACKNOWLEDGE_SECONDS.observe(time.monotonic() - pending.since)
        failpoints.reach("collector.acknowledge.after", error=StoreError)
        if done.jump:
            raise OutOfSequenceError(done.jump)
        await self._ask_when_caught_up(done.watermark)

    async def _note_refused(self, rejections: Sequence[Rejection]) -> None:
        """Once a stream: a machine that brings what another one is said to have measured."""
        foreign = [one.reason for one in rejections if one.reason.startswith(OF_ANOTHER_MACHINE)]
        if foreign and self.house.trust is not None and not self._has_refused:
            self._has_refused = True
            await self.house.trust.refused(self.machine_id, foreign[0])

    def _first_sighting(self) -> Sighting:
        return replace(
            self._sighting(self._hello.ledger),
            agent_version=self._hello.agent_version,
            facts=self._hello.machine,
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
