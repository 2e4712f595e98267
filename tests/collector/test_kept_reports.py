"""A live report is shown again while it says what a new one would, and so many are kept."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from llmenv_collector.live import sources
from llmenv_collector.live.report_question import ReportQuestion
from llmenv_collector.live.sources import Sources


class Desk:
    """Sources of which nothing is real but what is kept; the clock stands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.made = 1_000.0, 0
        self.store: Any = SimpleNamespace(commits=0)
        nothing: Any = None
        self.sources = Sources(
            store=self.store, identity=nothing, streams=nothing, sessions=nothing, report_page=self._make
        )
        monkeypatch.setattr(sources, "time", SimpleNamespace(monotonic=lambda: self.now))

    async def _make(self, *_: object) -> Any:
        self.made += 1
        return SimpleNamespace(version=str(self.made))

    def look(self, since: str = "7d") -> str:
        """The version that is shown."""
        asked = ReportQuestion.of([("since", since)])
        return asyncio.run(self.sources.report(asked, "en", person="ann")).version


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


def test_a_report_ages_though_nothing_arrives(desk: Desk) -> None:
    """Time alone makes a machine overdue; looking at it does not keep it young."""
    assert desk.look() == "1"
    desk.now += sources.OLDEST_REPORT_SECONDS - 1
    assert desk.look() == "1"
    desk.now += 1
    assert desk.look() == "2"


def test_a_report_is_made_anew_when_something_was_committed(desk: Desk) -> None:
    """Not within the first seconds."""
    assert desk.look() == "1"
    desk.store.commits += 1
    desk.now += sources.SAME_REPORT_SECONDS - 1
    assert desk.look() == "1"
    desk.now += 1
    assert desk.look() == "2"


def test_the_report_that_was_looked_at_longest_ago_is_forgotten(desk: Desk) -> None:
    """Not the one that was made longest ago, as long as people look at it."""
    for days in range(1, sources.MOST_REPORTS + 1):
        desk.look(f"{days}d")
    desk.look("1d")
    desk.look("99d")
    made = desk.made
    assert desk.look("1d") == "1"
    assert desk.made == made
    desk.look("2d")
    assert desk.made == made + 1
