"""Keeps one stream to the collector for as long as the agent lives, and delivers the spool over it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from typing import TYPE_CHECKING

import grpc
from llmenv.fleet.v1 import agent_service_pb2_grpc
from llmenv.ids import new_id

from llmenv_agent.connection import LINE, Diagnosis, Trouble, retry_seconds
from llmenv_agent.described import Described
from llmenv_agent.errors import DeliveryError, ProtocolError
from llmenv_agent.reconnect import LONGEST_SECONDS, Reconnect
from llmenv_agent.session import End, Session
from llmenv_agent.tally import Tally
from llmenv_agent.trust import trusted_pins

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from llmenv.fleet.v1 import agent_service_pb2, machine_pb2

    from llmenv_agent.connection import Line
    from llmenv_agent.renewal import Renewal
    from llmenv_agent.spool import Spool

log = logging.getLogger(__name__)

_FOR_A_PERSON_TO_MEND = {
    Trouble.REFUSED_BY_TLS,
    Trouble.REVOKED,
    Trouble.NOT_KNOWN,
    Trouble.INCOMPATIBLE,
}

_MAY_BE_ELSEWHERE = {
    Trouble.UNREACHABLE,
    Trouble.COLLECTOR_NOT_TRUSTED,
    Trouble.OTHER_NAME,
    Trouble.NOT_TLS,
}
"""Another address of the collector may do, as in a network where somebody else answers at the first."""


class Reporter:
    """Use from one event loop. `on_command` is awaited in the order the commands come.

    `addresses` take the place of those that the collector told.
    Without `on_schedules` the collector is not told that this agent runs at set times by its word.
    `line` is how the collector is reached.
    """

    def __init__(
        self,
        spool: Spool,
        renewal: Renewal,
        *,
        read_machine: Callable[[], machine_pb2.Machine],
        on_command: Callable[[agent_service_pb2.Command], Awaitable[None]],
        on_doubled: Callable[[bool], None] = lambda _: None,
        on_waiting: Callable[[str], None] = lambda _: None,
        on_schedules: Callable[[agent_service_pb2.Schedules], Awaitable[None]] | None = None,
        is_running: Callable[[], bool] = lambda: False,
        described: Described | None = None,
        addresses: Sequence[str] = (),
        line: Line = LINE,
    ) -> None:
        self._spool = spool
        self._renewal = renewal
        self._read_machine = read_machine
        self._on_command = on_command
        self._on_doubled = on_doubled
        self._on_waiting = on_waiting
        self._on_schedules = on_schedules
        self._start_id = new_id()
        self._is_running = is_running
        self._described = described or Described(spool)
        self._addresses = addresses
        self._line = line
        self.tally = Tally()
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._progress = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._reconnect = Reconnect()
        self._addresses_tried = 0
        self._trouble: Trouble | None = None
        self.last_diagnosis: Diagnosis | None = None
        loop = asyncio.get_running_loop()
        spool.subscribe(lambda: _wake_from_any_thread(loop, self._wake))

    async def run(self) -> None:
        """Connect, deliver, connect again, until `stop`."""
        self._running = asyncio.current_task()
        renewing = asyncio.create_task(self._renewal.run())
        try:
            while not self._stopping.is_set():
                await self._run_channel()
        finally:
            renewing.cancel()
            await asyncio.gather(renewing, return_exceptions=True)
            self._progress.set()  # who waits for a delivery learns that none will come

    async def _run_channel(self) -> None:
        """Streams one after the other, until another address or a new certificate is to be used."""
        identity = self._renewal.identity
        addresses = self._addresses or identity.agent_addresses
        address = self._address(addresses)
        async with self._line.open(address, identity) as channel:
            while identity is self._renewal.identity and not self._stopping.is_set():
                delay = await self._run_session(channel, address)
                await self._sleep(delay)
                if self._trouble in _MAY_BE_ELSEWHERE and len(addresses) > 1:
                    self._addresses_tried += 1
                    return

    def _address(self, addresses: Sequence[str]) -> str:
        return addresses[self._addresses_tried % len(addresses)]

    def stop(self) -> None:
        """Say Goodbye and end `run`."""
        self._stopping.set()
        self._wake.set()

    async def wait_until_delivered(self, timeout_seconds: float) -> None:
        """Return when the collector has acknowledged everything. Raises DeliveryError at the deadline.

        Raises what ended `run` where it has ended before.
        """
        deadline = time.monotonic() + timeout_seconds
        while not await asyncio.to_thread(self._spool.is_delivered):
            self._progress.clear()
            if self._running is not None and self._running.done():
                self._running.result()
                raise DeliveryError(self._still_waiting(timeout_seconds))
            try:
                await asyncio.wait_for(self._progress.wait(), max(0.0, deadline - time.monotonic()))
            except TimeoutError:
                raise DeliveryError(self._still_waiting(timeout_seconds)) from None

    def _still_waiting(self, timeout_seconds: float) -> str:
        why = f" {self.last_diagnosis.sentence}" if self.last_diagnosis else ""
        waiting = self._spool.ledger().waiting
        return (
            f"{waiting} records were not delivered within {timeout_seconds:g} s; they stay in the spool.{why}"
        )

    async def _run_session(self, channel: grpc.aio.Channel, address: str) -> float:
        """One stream; returns the seconds to wait before the next."""
        session = Session(
            self._spool,
            machine=await asyncio.to_thread(self._read_machine),
            wake=self._wake,
            stopping=self._stopping,
            on_command=self._on_command,
            on_progress=self._note_progress,
            on_doubled=self._on_doubled,
            on_waiting=self._on_waiting,
            on_authorities=self._renewal.trust,
            trusted_pins=trusted_pins(self._renewal.identity.ca_pem),
            on_schedules=self._on_schedules,
            start_id=self._start_id,
            is_running=self._is_running,
            described=self._described,
            tally=self.tally,
        )
        asked_seconds = 0.0
        try:
            end = await session.run(agent_service_pb2_grpc.AgentServiceStub(channel))
            if end in {End.STOPPED, End.FORKED}:
                return 0.0
            log.info("the collector ended the stream (%s)", end.value)
            asked_seconds = session.reconnect_after_seconds
        except ProtocolError as error:
            self._note_trouble(Diagnosis(trouble=Trouble.BROKEN, sentence=str(error)))
        except grpc.aio.AioRpcError as error:
            asked_seconds = retry_seconds(error)
            diagnosis = await asyncio.to_thread(self._line.explain, address, self._renewal.identity, error)
            # It may have ended, by this clock or by the collector's.
            if diagnosis.trouble is Trouble.REFUSED_BY_TLS and await self._renew():
                return 0.0
            self._note_trouble(diagnosis)
            if diagnosis.trouble in _FOR_A_PERSON_TO_MEND:
                asked_seconds = max(asked_seconds, LONGEST_SECONDS)
        connected = 0.0 if session.welcomed_at is None else time.monotonic() - session.welcomed_at
        return self._reconnect.delay_after(connected, asked_seconds=asked_seconds)

    async def _renew(self) -> bool:
        """False also when the agent stops meanwhile."""
        renewing = asyncio.create_task(self._renewal.renew())
        stopping = asyncio.create_task(self._stopping.wait())
        await asyncio.wait({renewing, stopping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (renewing, stopping):
            task.cancel()
        outcome, _ = await asyncio.gather(renewing, stopping, return_exceptions=True)
        return outcome is True

    def _note_progress(self) -> None:
        self._trouble = self.last_diagnosis = None
        self._progress.set()

    def _note_trouble(self, diagnosis: Diagnosis) -> None:
        """The first time aloud; the same again only for those who look closely."""
        self.tally.troubles[diagnosis.trouble.value] += 1
        level = logging.DEBUG if diagnosis.trouble is self._trouble else logging.WARNING
        log.log(level, "%s", diagnosis.sentence, extra={"trouble": diagnosis.trouble.value})
        self._trouble, self.last_diagnosis = diagnosis.trouble, diagnosis

    async def _sleep(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)


def _wake_from_any_thread(loop: asyncio.AbstractEventLoop, wake: asyncio.Event) -> None:
    with contextlib.suppress(RuntimeError):  # the loop has closed: what was spooled goes with the next start
        loop.call_soon_threadsafe(wake.set)
