"""Whose statement runs next: nobody waits for one who asks more, and a full line says so."""

from __future__ import annotations

import asyncio

import pytest
from llmenv_collector.errors import NoRoomError
from llmenv_collector.sql import turns
from llmenv_collector.sql.turns import Turns

PATIENCE_SECONDS = 60.0


class Analysts:
    """Statements that run until they are told to end."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._turns = Turns(patience_seconds)
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.running: list[str] = []

    async def ask(self, *names: str) -> None:
        """Named by who asks and a number: "ann 1"."""
        for name in names:
            self._ends[name] = asyncio.Event()
            self._tasks.append(asyncio.create_task(self._statement(name)))
            await settled()

    async def _statement(self, name: str) -> None:
        async with self._turns.turn(name.split(maxsplit=1)[0]):
            self.running.append(name)
            await self._ends[name].wait()
            self.running.remove(name)

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await settled()

    async def leave(self, number: int) -> None:
        self._tasks[number].cancel()
        await settled()

    async def result(self, number: int) -> None:
        await self._tasks[number]


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_second_analyst_does_not_wait_for_the_first() -> None:
    """Of one who asks ten at once two run, so that another's run at once."""

    async def play() -> None:
        analysts = Analysts()
        await analysts.ask("ann 1", "ann 2", "ann 3", "ann 4", "ben 1", "ben 2")
        assert analysts.running == ["ann 1", "ann 2", "ben 1", "ben 2"]
        await analysts.end("ben 1")
        assert analysts.running == ["ann 1", "ann 2", "ben 2"]
        await analysts.end("ann 1")
        assert analysts.running == ["ann 2", "ben 2", "ann 3"]
        await analysts.end("ann 2", "ben 2", "ann 3", "ann 4")
        assert analysts.running == []

    asyncio.run(play())


def test_who_runs_the_fewest_comes_first() -> None:
    """Also before one who has waited longer."""

    async def play() -> None:
        analysts = Analysts()
        await analysts.ask("ann 1", "ann 2", "ben 1", "ben 2", "ann 3", "ben 3", "cat 1")
        await analysts.end("ann 1")
        assert analysts.running == ["ann 2", "ben 1", "ben 2", "cat 1"]
        await analysts.end("ann 2")
        assert analysts.running == ["ben 1", "ben 2", "cat 1", "ann 3"]

    asyncio.run(play())


def test_whoever_leaves_the_line_frees_a_place() -> None:
    """Whether it waits or runs."""

    async def play() -> None:
        analysts = Analysts()
        await analysts.ask("ann 1", "ann 2", "ann 3", "ann 4")
        await analysts.leave(2)
        await analysts.leave(0)
        assert analysts.running[1:] == ["ann 2", "ann 4"]
        analysts.running.clear()
        await analysts.ask("ben 1", "ben 2", "cat 1")
        assert analysts.running == ["ben 1", "ben 2"]

    asyncio.run(play())


def test_a_full_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one sentence with its counts, and to others than who filled it only when it is full for all."""

    async def play() -> None:
        analysts = Analysts()
        await analysts.ask(*(f"ann {number}" for number in range(turns.MOST_WAITING_EACH + 3)))
        with pytest.raises(NoRoomError, match=r"^2 statements run and 8 wait, at most 2 of one person"):
            await analysts.result(turns.MOST_WAITING_EACH + 2)
        await analysts.ask("ben 1")
        assert "ben 1" in analysts.running

    asyncio.run(play())


def test_nobody_waits_for_ever() -> None:
    async def play() -> None:
        analysts = Analysts(patience_seconds=0.01)
        await analysts.ask("ann 1", "ann 2", "ann 3")
        with pytest.raises(NoRoomError):
            await analysts.result(2)
        await analysts.end("ann 1", "ann 2")

    asyncio.run(play())
