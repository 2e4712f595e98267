"""Answers that are under way: a statement begins when a driver asks about it, and is fetched a call later.

So its first rows wait for the driver, and not the other way round.  One that nobody fetches ends, and a later
fetch asks it anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from llmenv_collector.errors import (
    CancelledStatementError,
    CollectorError,
    StatementError,
    StatementLimitError,
    UsageError,
)
from llmenv_collector.sql.arrow_frames import Form, Kind

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from llmenv_collector.flight.asked import Asked
    from llmenv_collector.sql.statements import Part, Statements

logger = logging.getLogger(__name__)

FETCH_SECONDS = 15.0
AHEAD = 2
"""Messages that are ready before they are taken."""


class Answer:
    """One statement at work."""

    def __init__(self, parts: AsyncGenerator[Part], person: str) -> None:
        self.person = person
        self.is_fetched = False
        self.schema = b""
        """A FlightData, from the time when it is known until it is fetched."""
        self.expiry: asyncio.TimerHandle | None = None
        self._ready: asyncio.Queue[Part | CollectorError] = asyncio.Queue(AHEAD)
        self._task = asyncio.create_task(self._fill(parts))

    async def next(self) -> Part:
        """Raises what the statement ended with."""
        part = await self._ready.get()
        if isinstance(part, CollectorError):
            raise part
        return part

    async def cancel(self) -> None:
        """Whoever waits for its next part is told."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        while not self._ready.empty():
            self._ready.get_nowait()
        self._ready.put_nowait(CancelledStatementError("The statement was cancelled."))

    async def _fill(self, parts: AsyncGenerator[Part]) -> None:
        try:
            async with contextlib.aclosing(parts) as every:
                async for part in every:
                    await self._ready.put(part)
        except CollectorError as error:
            await self._ready.put(error)
        except Exception:  # whoever waits for the next part must not wait for ever
            logger.exception("a statement failed")
            await self._ready.put(StatementError("The statement failed; the collector's log says why."))


class Answers:
    """Lives in the event loop."""

    def __init__(self, statements: Statements) -> None:
        self._statements = statements
        self._open: dict[str, Answer] = {}
        self._endings: set[asyncio.Future[None]] = set()

    async def begin(self, asked: Asked, person: str) -> bytes:
        """The schema, as a FlightData.  It is given up when nobody fetches it in time."""
        answer = self._start(asked, person)
        try:
            part = await answer.next()
            while part.kind is not Kind.SCHEMA:
                part = await answer.next()
        except BaseException:
            await self._end(asked.asked_id)
            raise
        answer.schema = part.arrow_ipc
        answer.expiry = asyncio.get_running_loop().call_later(FETCH_SECONDS, self._give_up, asked.asked_id)
        return answer.schema

    async def fetch(self, asked: Asked, person: str) -> AsyncGenerator[bytes]:
        """The schema and the rows, each message a FlightData.  Raises StatementError."""
        answer = self._open.get(asked.asked_id) or self._start(asked, person)
        if answer.person != person or answer.is_fetched:
            raise UsageError("The answer is being fetched already: ask again.")
        answer.is_fetched = True
        if answer.expiry:
            answer.expiry.cancel()
        try:
            if answer.schema:
                yield answer.schema
            while (part := await answer.next()).kind is not Kind.END:
                if part.kind:
                    yield part.arrow_ipc
            if part.is_truncated and not asked.max_rows:
                raise StatementLimitError(
                    f"The answer has more than the {part.rows:,} rows that one statement may return, which"
                    " were sent: ask for fewer, or for a summary."
                )
        finally:
            await self._end(asked.asked_id)

    async def cancel(self, asked: Asked, person: str) -> bool:
        """Whether it was under way.  One's own only."""
        answer = self._open.get(asked.asked_id)
        if answer is None or answer.person != person:
            return False
        await self._end(asked.asked_id)
        return True

    def _start(self, asked: Asked, person: str) -> Answer:
        answer = Answer(self._statements.answer(asked.question(person), form=Form.FLIGHT), person)
        self._open[asked.asked_id] = answer
        return answer

    def _give_up(self, asked_id: str) -> None:
        ending = asyncio.ensure_future(self._end(asked_id))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def _end(self, asked_id: str) -> None:
        answer = self._open.pop(asked_id, None)
        if answer:
            if answer.expiry:
                answer.expiry.cancel()
            await answer.cancel()
