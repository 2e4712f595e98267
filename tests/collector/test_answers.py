"""Answers to drivers where the collector itself fails: who waits is told, and the next one is answered."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
from llmenv_collector.errors import NoRoomError, StatementError
from llmenv_collector.flight.answers import Answers
from llmenv_collector.flight.asked import Asked
from llmenv_collector.serving import upkeep
from llmenv_collector.sql.process import Workers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

PATIENCE_SECONDS = 120


class Failing:
    """In place of Statements."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def answer(self, question: Any, *, form: Any) -> AsyncGenerator[Any]:
        if question:
            raise self._error
        yield form


@pytest.mark.parametrize(
    ("error", "told"),
    [
        pytest.param(OSError(errno.EMFILE, "Too many open files"), StatementError, id="a fault of ours"),
        pytest.param(NoRoomError("Come again later."), NoRoomError, id="an error that is explained"),
    ],
)
@pytest.mark.parametrize("way", ["begin", "fetch"])
def test_nobody_waits_for_an_answer_that_cannot_come(
    error: Exception, told: type[Exception], way: str
) -> None:
    """Whatever the statement ended with, and whichever call waits for it."""

    async def ask() -> None:
        answers: Any = Answers(Failing(error))  # type: ignore[arg-type]
        asked = Asked.new("SELECT 1")
        async with asyncio.timeout(PATIENCE_SECONDS):
            if way == "begin":
                await answers.begin(asked, "somebody")
            else:
                [message async for message in answers.fetch(asked, "somebody")]

    with pytest.raises(told):
        asyncio.run(ask())


@pytest.mark.parametrize("what", ["pipe", "process"])
def test_a_machine_without_room_for_a_process_says_so(monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """Those who ask then are sent away, those who ask later are not, and the end is orderly."""

    def refuse(*_arguments: object, **_options: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def ask() -> bool:
        workers = Workers()
        with monkeypatch.context() as patch:
            if what == "pipe":
                patch.setattr(os, "pipe", refuse)
            else:
                patch.setattr(asyncio, "create_subprocess_exec", refuse)
            for _ in range(2):
                with pytest.raises(NoRoomError, match="Too many open files"):
                    async with workers.one():
                        pass
            await workers.close()
        async with workers.one() as worker:
            is_alive = worker.is_alive
        await workers.close()
        return is_alive

    assert asyncio.run(ask())


def test_work_that_ends_by_a_fault_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """What goes on beside calls does not end unseen; being cancelled is no fault."""

    async def fail() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def go_on() -> None:
        await asyncio.Event().wait()

    async def watched() -> None:
        tasks = [asyncio.create_task(fail()), asyncio.create_task(go_on())]
        for task in tasks:
            task.add_done_callback(upkeep.say_end)
        await asyncio.wait(tasks[:1])
        tasks[1].cancel()
        await asyncio.wait(tasks[1:])

    asyncio.run(watched())
    (record,) = caplog.records
    assert "fail is not done any more until a restart" in record.getMessage()
