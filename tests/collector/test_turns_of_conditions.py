"""Whose turn a condition takes: that of who gives it, so that slow ones hold up nobody else."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import fleet_report_pb2 as reports
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import fleet_watch_pb2 as watches
from llmenv_collector.delivery.streams import Streams
from llmenv_collector.errors import StatementLimitError
from llmenv_collector.fleet.machine_selection import Selector
from llmenv_collector.fleet.servicer import FleetServicer
from llmenv_collector.fleet_commands.desk import CommandDesk
from llmenv_collector.fleet_report import servicer as report_servicer
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.identity.labels import LabelCopy
from llmenv_collector.identity.tokens import Token
from llmenv_collector.live.handlers import Handlers
from llmenv_collector.live.sessions import Session
from llmenv_collector.scheduled.made_report import ReportMaker
from llmenv_collector.schedules import assignment as schedule_assignment
from llmenv_collector.schedules.book import ScheduleBook
from llmenv_collector.schedules.copy import StoredSchedule
from llmenv_collector.serving import gate
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from llmenv_collector.sql.statements import Question

WHERE = "chip = 'x'"
REPORT = reports.GetFleetReportRequest(where=WHERE)
SELECTION = fleet.MachineSelection(where=WHERE)
RUN = wire.RunChecks(suite="quick")
DAILY = wire.Schedule(name="daily", run_checks=RUN, every_seconds=86_400.0)
ANN = Token("ann", "admin", "Ann", created_at=0, expires_at=2**60, used_at=None, revoked_at=None)
NOBODY: Any = None


class Statements:
    """In place of a process for each: it notes whose turn is taken, and answers nothing."""

    def __init__(self) -> None:
        self.persons: list[str] = []

    async def run(self, question: Question) -> AsyncIterator[Any]:
        assert question.is_condition
        self.persons.append(question.person)
        raise StatementLimitError("noted")
        yield


class House:
    """A collector's servicer, of which everything is real but the statements."""

    def __init__(self, folder: Path) -> None:
        self.store = Store(folder / "llmenv.duckdb")
        self.identity = Identity.create(folder / "identity.db")
        self.statements: Any = Statements()

    def servicer(self) -> FleetServicer:
        labels, streams = LabelCopy(self.identity, self.store), Streams()
        common: dict[str, Any] = {"store": self.store, "identity": self.identity}
        selector = Selector(**common, statements=self.statements, label_copy=labels)
        return FleetServicer(
            **common,
            streams=streams,
            statements=self.statements,
            label_copy=labels,
            selector=selector,
            analysis=NOBODY,
            desk=CommandDesk(**common, streams=streams, selector=selector),
            authority=NOBODY,
        )

    def persons(self, call: Callable[[FleetServicer], Any], *, token: Token | None = None) -> list[str]:
        """Whose turns were taken by what this awaits or iterates."""

        async def play() -> None:
            if token:
                gate.PERSON.set(token)
            asked = call(self.servicer())
            try:
                if hasattr(asked, "__aiter__"):
                    async for _ in asked:
                        pass
                else:
                    await asked
            except StatementLimitError:
                pass

        asyncio.run(play())
        persons: list[str] = self.statements.persons
        return persons


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = House(tmp_path)
    yield opened
    opened.store.close()


CALLS: dict[str, Callable[[FleetServicer], Any]] = {
    "report": lambda one: one.GetFleetReport(REPORT, NOBODY),
    "page": lambda one: one.RenderFleetReport(reports.RenderFleetReportRequest(report=REPORT), NOBODY),
    "upgrade": lambda one: one.CheckUpgrade(reports.CheckUpgradeRequest(within=REPORT), NOBODY),
    "command": lambda one: one.IssueCommand(
        fleet.IssueCommandRequest(selection=SELECTION, run_checks=RUN), NOBODY
    ),
    "schedule": lambda one: one.SetSchedule(
        fleet.SetScheduleRequest(selection=SELECTION, schedule=DAILY), NOBODY
    ),
    "watch": lambda one: one.WatchFleet(watches.WatchFleetRequest(where=WHERE), NOBODY),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_caller_takes_turns_of_its_own(house: House, call: str) -> None:
    """Known by the id of its token."""
    assert house.persons(CALLS[call], token=ANN) == ["ann"]


def test_schedules_take_turns_of_their_own(house: House) -> None:
    """Also where somebody's call has them looked at."""
    stored = StoredSchedule(schedule=DAILY, selection=SELECTION, set_at=1, set_by="Ann")
    ScheduleBook(house.identity).set(stored, detail="")
    persons = house.persons(lambda one: one.assignment.look(), token=ANN)
    assert persons == [schedule_assignment.PERSON]


def test_reports_at_set_times_take_turns_of_their_own(house: House) -> None:
    """Nobody calls."""
    persons = house.persons(lambda one: ReportMaker(one).make(REPORT, "json", "en"))
    assert persons == [report_servicer.SCHEDULED]


def test_a_live_page_takes_turns_of_who_looks_at_it(house: House) -> None:
    assert house.persons(lambda one: one.live_page(REPORT, "en", NOBODY, "ann")) == ["ann"]


@pytest.mark.parametrize("page", ["report", "report_events"])
def test_who_looks_is_the_token_of_the_session(page: str) -> None:
    """For the page and for its events."""
    persons = []

    async def report(*_: object, person: str) -> Any:
        persons.append(person)
        raise StatementLimitError("noted")

    session = Session("ann", "Ann", "viewer", expires_at=2**60)
    sources: Any = SimpleNamespace(report=report, sessions=SimpleNamespace(find=lambda _: session))
    request: Any = SimpleNamespace(cookies={}, query={"where": WHERE}, headers={})
    with pytest.raises(StatementLimitError):
        asyncio.run(getattr(Handlers(sources), page)(request))
    assert persons == ["ann"]
