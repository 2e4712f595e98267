"""Commands of the collector, from their acceptance to their end.

That a command is taken is spooled, with the command itself, before anything is done; that it begins, before
it does. So a command is acted on once, however often it is handed down. After a restart of the agent one that
had not begun is taken up again, with the time that it has left; one that had begun is closed by `recovery`,
since half of it may have been done.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import math
import threading
import time
from typing import TYPE_CHECKING, TypeAlias

from llmenv import failpoints
from llmenv.fleet.v1 import agent_service_pb2, record_pb2

from llmenv_agent.asked_run import request_of
from llmenv_agent.errors import AgentError, SpoolError, UsageError
from llmenv_agent.schedule import fraction
from llmenv_agent.work import outcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_agent.repertoire import Repertoire
    from llmenv_agent.spool import Spool
    from llmenv_agent.work import Request, Work

    State: TypeAlias = record_pb2.CommandOutcome.State.ValueType

log = logging.getLogger(__name__)

LOOK_AGAIN_SECONDS = 60.0
STOPPED = "the agent was stopped before the command ended"
WITHIN_SPLAY = "begins in {seconds:.0f} s, by this machine's share of the splay"
Outcome = record_pb2.CommandOutcome


@dataclasses.dataclass(frozen=True, kw_only=True)
class Commanded:
    """Waits for the worker: `expires_at` and `not_before` are on the monotonic clock, and `cancelled` ends
    `work`. `held_by` is what stood in the way when it was looked at last.
    """

    command_id: str
    expires_at: float
    work: Callable[[], None]
    cancelled: threading.Event
    waits_for_idle: bool = False
    not_before: float = 0.0
    held_by: str = ""


class CommandInbox:
    """Use from one event loop: the stream gives (`take`), the worker asks (`next`) and does (`carry_out`)."""

    def __init__(
        self,
        spool: Spool,
        work: Work,
        repertoire: Repertoire,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spool = spool
        self._work = work
        self.repertoire = repertoire
        self._clock = clock
        self._waiting: dict[str, Commanded] = {}
        self._arrived = asyncio.Event()
        self._current: Commanded | None = None
        self._is_taken_back = False
        self._turn = asyncio.Lock()

    async def reopen(self) -> None:
        """Take up again what an earlier agent accepted and had not begun."""
        for command in await asyncio.to_thread(self._spool.waiting_commands):
            await self._begin(command)

    async def take(self, command: agent_service_pb2.Command) -> None:
        """Accept a command, once; it is done, refused, or waits for the worker."""
        # Shielded: a stream that breaks in between must not leave a command accepted and in no queue.
        await asyncio.shield(asyncio.ensure_future(self._take(command)))

    async def next(self) -> Commanded:
        """The command that waits longest, as soon as there is one."""
        while (seconds := self._seconds_to_next()) > 0:
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), None if math.isinf(seconds) else seconds)
        return self._waiting.pop(self._first().command_id)

    async def carry_out(self, commanded: Commanded) -> None:
        """Do it, unless it is too late, and spool how it went."""
        if self._clock() >= commanded.expires_at:
            await self._say(commanded.command_id, Outcome.STATE_EXPIRED, reason=commanded.held_by)
            return
        self._current, self._is_taken_back = commanded, False
        try:
            reason = await self._objection(commanded)
            if reason and not self._is_taken_back:
                await self._hold(commanded, reason)
            else:
                await self._do(commanded)
        finally:
            self._current = None

    async def _do(self, commanded: Commanded) -> None:
        await self._say(commanded.command_id, Outcome.STATE_STARTED)
        failpoints.reach("agent.command.begun", error=SpoolError)
        problem = ""
        try:
            await asyncio.to_thread(commanded.work)
        except UsageError as error:
            problem = str(error)
        failpoints.reach("agent.command.done", error=SpoolError)
        self._current = None
        await self._conclude(commanded, problem)

    async def _objection(self, commanded: Commanded) -> str:
        """What stands in the way; "" for nothing, and for a command that runs regardless."""
        sentence = await asyncio.to_thread(self._work.objection) if commanded.waits_for_idle else None
        return sentence.text if sentence else ""

    async def _hold(self, commanded: Commanded, reason: str) -> None:
        """Until it is looked at again; said once, so that who watches knows what it waits for."""
        not_before = min(self._clock() + LOOK_AGAIN_SECONDS, commanded.expires_at)
        held = dataclasses.replace(commanded, not_before=not_before, held_by=reason)
        self._waiting[commanded.command_id] = held
        if not commanded.held_by:
            await self._say(commanded.command_id, Outcome.STATE_ACCEPTED, reason=reason)

    def _first(self) -> Commanded:
        return min(self._waiting.values(), key=lambda each: each.not_before)

    def _seconds_to_next(self) -> float:
        return self._first().not_before - self._clock() if self._waiting else math.inf

    async def _conclude(self, commanded: Commanded, problem: str) -> None:
        if self._is_taken_back:
            await self._say(commanded.command_id, Outcome.STATE_CANCELLED)
        else:
            reason = problem or (STOPPED if commanded.cancelled.is_set() else "")
            await self._say(commanded.command_id, Outcome.STATE_ENDED, reason=reason)

    async def _take(self, command: agent_service_pb2.Command) -> None:
        async with self._turn:
            if await asyncio.to_thread(self._spool.accept_command, command):
                await self._begin(command)

    async def _begin(self, command: agent_service_pb2.Command) -> None:
        try:
            await self._dispatch(command)
        except AgentError as error:
            await self._say(command.command_id, Outcome.STATE_REFUSED, reason=str(error))

    async def _dispatch(self, command: agent_service_pb2.Command) -> None:
        """Raises UsageError for what cannot be done."""
        match command.WhichOneof("action"):
            case "run_checks":
                request = self._request(command)
                later = command.run_checks.splay_seconds * fraction(command.command_id)
                self._queue(
                    command,
                    functools.partial(self._work.execute, request),
                    cancelled=request.cancelled,
                    waits_for_idle=not request.regardless_of_use,
                    later=later,
                )
                if later:
                    reason = WITHIN_SPLAY.format(seconds=later)
                    await self._say(command.command_id, Outcome.STATE_ACCEPTED, reason=reason)
            case "refresh_facts":
                work = functools.partial(self._work.snapshot_all, always=True)
                self._queue(command, work, cancelled=threading.Event())
            case "cancel_run":
                await self._cancel(command.cancel_run)
                await self._say(command.command_id, Outcome.STATE_ENDED)
            case _:
                raise UsageError("this agent does not know the command; upgrade it")

    def _queue(
        self,
        command: agent_service_pb2.Command,
        work: Callable[[], None],
        *,
        cancelled: threading.Event,
        waits_for_idle: bool = False,
        later: float = 0.0,
    ) -> None:
        now = self._clock()
        self._waiting[command.command_id] = Commanded(
            command_id=command.command_id,
            expires_at=now + command.expires_in_seconds,
            not_before=now + later if later else 0.0,
            work=work,
            cancelled=cancelled,
            waits_for_idle=waits_for_idle,
        )
        self._arrived.set()

    def _request(self, command: agent_service_pb2.Command) -> Request:
        request = request_of(command.run_checks, self.repertoire, command_id=command.command_id)
        self._work.targets(request.targets)
        return request

    async def _cancel(self, asked: agent_service_pb2.CancelRun) -> None:
        """Raises UsageError when there is nothing that could be cancelled any more."""
        if asked.run_id:
            if not self._work.cancel(asked.run_id):
                raise UsageError(f"run {asked.run_id} is not in progress")
        elif self._current is not None and self._current.command_id == asked.command_id:
            self._is_taken_back = True
            self._current.cancelled.set()
        elif self._waiting.pop(asked.command_id, None) or await self._forestall(asked.command_id):
            await self._say(asked.command_id, Outcome.STATE_CANCELLED)
        else:
            raise UsageError(f"command {asked.command_id} has ended already")

    async def _forestall(self, command_id: str) -> bool:
        """Take a command that never came as seen, so that it does nothing should it come yet."""
        unseen = agent_service_pb2.Command(command_id=command_id)
        return await asyncio.to_thread(self._spool.accept_command, unseen)

    async def _say(self, command_id: str, state: State, *, reason: str = "") -> None:
        record = outcome(command_id, state, reason=reason)
        await asyncio.to_thread(self._spool.append, record)
        word = Outcome.State.Name(state).removeprefix("STATE_").lower()
        log.info("command %s", word, extra={"command_id": command_id})
