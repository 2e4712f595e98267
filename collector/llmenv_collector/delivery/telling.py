"""What a machine is told while its stream is open: what to do, what to run when, and that we are there."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from llmenv import failpoints
from llmenv.fleet.v1 import agent_service_pb2
from llmenv.fleet.v1.agent_service_pb2 import ConnectResponse

from llmenv_collector import clock
from llmenv_collector.errors import StoreError
from llmenv_collector.fleet_commands import store as command_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from llmenv_collector.delivery.house import House
    from llmenv_collector.delivery.streams import Stream


class Voice:
    """Says one message at a time: gRPC takes no more, and a slow reader makes one last."""

    __slots__ = ("_send", "_turn")

    def __init__(self, send: Callable[[ConnectResponse], Awaitable[None]]) -> None:
        self._send = send
        self._turn = asyncio.Lock()

    async def say(self, response: ConnectResponse) -> None:
        async with self._turn:
            await self._send(response)


class Telling:
    """Of one stream, in one task."""

    __slots__ = ("_hello", "_house", "_said", "_stream", "_told", "_voice")

    def __init__(self, house: House, hello: agent_service_pb2.Hello, *, stream: Stream, voice: Voice) -> None:
        self._house = house
        self._hello = hello
        self._stream = stream
        self._voice = voice
        self._told: set[str] | None = None
        """Commands, each once a stream."""
        self._said: agent_service_pb2.Schedules | None = None

    async def run(self) -> None:
        """Until it is cancelled."""
        now = asyncio.get_running_loop().time
        due = now() + self._house.heartbeat_seconds
        while True:
            self._stream.news.clear()
            await self._hand_down()
            await self._say_schedules()
            if now() >= due:
                due = now() + self._house.heartbeat_seconds
                await self._beat()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due):
                    await self._stream.news.wait()

    async def note_trust(self) -> None:
        """What the machine trusts, and what it should."""
        if self._house.trust is not None and "authorities" in self._hello.capabilities:
            await self._house.trust.note(self._stream.machine_id, self._hello.trusted_pins)
        await self._tell_authorities()

    async def _beat(self) -> None:
        """Says that the collector is there."""
        heartbeat = agent_service_pb2.Heartbeat(
            sent_at=clock.to_timestamp(clock.now()),
            is_doubled=self._house.streams.doubles.are_at_work(self._stream.machine_id),
        )
        await self._voice.say(ConnectResponse(heartbeat=heartbeat))
        await self._tell_authorities()

    async def _tell_authorities(self) -> None:
        """An agent that trusts something else stores it and comes again."""
        trust = self._house.trust
        if trust is None or "authorities" not in self._hello.capabilities:
            return
        if news := trust.news(self._hello.trusted_pins):
            authorities = agent_service_pb2.Authorities(ca_pem=news)
            await self._voice.say(ConnectResponse(authorities=authorities))

    async def _hand_down(self) -> None:
        """What the machine is to do."""
        if not self._stream.is_commanded or "commands" not in self._hello.capabilities:
            return
        self._stream.is_commanded = False
        due = self._house.store.ask(command_store.hand_down, self._stream.machine_id)
        for command in await asyncio.wrap_future(due):
            self._told = self._told or set()
            if command.command_id not in self._told:
                failpoints.reach("collector.command.told", error=StoreError)
                await self._voice.say(ConnectResponse(command=command))
                self._told.add(command.command_id)

    async def _say_schedules(self) -> None:
        """What the machine is to run at set times: with each stream, and whenever that changes."""
        if not self._stream.is_rescheduled or "schedules" not in self._hello.capabilities:
            return
        self._stream.is_rescheduled = False
        schedules = self._house.schedules
        told = None if schedules is None else schedules.told(self._stream.machine_id)
        if told is not None and told != self._said:
            failpoints.reach("collector.schedules.told", error=StoreError)
            await self._voice.say(ConnectResponse(schedules=told))
            self._said = told
