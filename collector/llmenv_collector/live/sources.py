"""What the live pages know of the collector, and how a page is made of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmenv.catalog.texts import LANGUAGES

from llmenv_collector.errors import NotFoundError
from llmenv_collector.fleet import queries, whole_run
from llmenv_collector.live.attempts import Attempts
from llmenv_collector.pages import machine_page, run_page
from llmenv_collector.pages.report_file import Frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import duckdb
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportRequest
    from llmenv.fleet.v1.fleet_service_pb2 import FleetMachine
    from llmenv.fleet.v1.run_pb2 import Run

    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.live.report_question import ReportQuestion
    from llmenv_collector.live.sessions import Sessions
    from llmenv_collector.pages.live_page import Content
    from llmenv_collector.pages.report_file import LiveReport
    from llmenv_collector.storage.store import Store

SAME_REPORT_SECONDS = 5.0
"""A report that is this young is shown again, however much was committed since."""
OLDEST_REPORT_SECONDS = 600.0
"""One that is older is made anew though nothing was committed: time alone makes a machine overdue."""
REST_TIMES, LONGEST_REST_SECONDS = 10.0, 30.0
"""Who watches has a report made anew after so many times as long as it took, half a minute at most."""
MOST_REPORTS_AT_ONCE = 2
MOST_REPORTS = 32
"""Kept; the one that was looked at longest ago is made again."""
RUNS_OF_A_MACHINE = 30


@dataclass(frozen=True)
class Report:
    """A report as it was made, and when, on the monotonic clock."""

    made: LiveReport
    commits: int
    made_at: float
    took_seconds: float

    @property
    def version(self) -> str:
        return self.made.version

    @property
    def rest_seconds(self) -> float:
        """How long whoever watches waits for the next one at least."""
        return min(max(SAME_REPORT_SECONDS, REST_TIMES * self.took_seconds), LONGEST_REST_SECONDS)


@dataclass
class Sources:
    """Shared by all handlers; everything runs on one loop."""

    store: Store
    identity: Identity
    streams: Streams
    sessions: Sessions
    report_page: Callable[[GetFleetReportRequest, str, Frame, str], Awaitable[LiveReport]]
    """The fleet report in a language, in a frame, for a person."""
    attempts: Attempts = field(default_factory=Attempts)
    _reports: dict[tuple[ReportQuestion, str], Report] = field(default_factory=dict)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_REPORTS_AT_ONCE))

    async def report(self, asked: ReportQuestion, language: str, *, person: str) -> Report:
        """Made anew when something was committed, and not for each of many who look at once.

        Raises UsageError or NotFoundError.
        """
        key = asked, language
        if known := self._fresh(key):
            return known
        async with self._room:
            if known := self._fresh(key):  # somebody else had it made meanwhile
                return known
            began, commits = time.monotonic(), self.store.commits
            request = asked.request(now=dt.datetime.now(dt.UTC))
            made = await self.report_page(request, language, frame_of(asked, language), person)
            now = time.monotonic()
            self._reports.pop(key, None)
            self._reports[key] = report = Report(made, commits, now, now - began)
            while len(self._reports) > MOST_REPORTS:
                del self._reports[next(iter(self._reports))]
            return report

    def _fresh(self, key: tuple[ReportQuestion, str]) -> Report | None:
        known = self._reports.get(key)
        if known is None:
            return None
        age = time.monotonic() - known.made_at
        is_same = known.commits == self.store.commits and age < OLDEST_REPORT_SECONDS
        if not is_same and age >= SAME_REPORT_SECONDS:
            return None
        self._reports[key] = self._reports.pop(key)  # the one that was looked at last
        return known

    async def run(self, run_id: str, language: str) -> Content:
        """Raises NotFoundError or UsageError."""

        def read(connection: duckdb.DuckDBPyConnection) -> Content:
            run = whole_run.get_run(connection, run_id=run_id)
            return run_page.content(run, running_checks(connection, run), language=language)

        return await self._read(read)

    async def machine(self, machine_id: str, language: str) -> Content:
        """Raises NotFoundError."""
        presence = queries.Presence(connected=self.streams.connected(), last_seen=self.streams.last_seen())
        standing = await asyncio.to_thread(self.identity.standing)

        def read(connection: duckdb.DuckDBPyConnection) -> Content:
            machines = queries.list_machines(connection, standing=standing, presence=presence)
            machine = the_one(machines, machine_id)
            runs = queries.list_runs(connection, machine=machine_id, limit=RUNS_OF_A_MACHINE)
            return machine_page.content(machine, runs, language=language)

        return await self._read(read)

    async def _read(self, read: Callable[[duckdb.DuckDBPyConnection], Content]) -> Content:
        def in_thread() -> Content:
            with self.store.reader() as connection:
                return read(connection)

        return await asyncio.to_thread(in_thread)


def frame_of(asked: ReportQuestion, language: str) -> Frame:
    question: dict[str, str] = {}
    for name, value in asked.given:
        question[name] = f"{question[name]}, {value}" if name in question else value
    other = next(one for one in LANGUAGES if one != language)
    return Frame(
        events=f"/events{asked.query(lang=language)}", alternate=asked.query(lang=other), question=question
    )


RUNNING = """
SELECT check_name FROM store.check_start AS begun
WHERE run_id = ? AND machine_id = ? AND result_id NOT IN (
  SELECT result_id FROM store.result WHERE run_id = begun.run_id AND machine_id = begun.machine_id)
ORDER BY measured_at
"""


def running_checks(connection: duckdb.DuckDBPyConnection, run: Run) -> list[str]:
    """Names of the checks that began and have no result yet."""
    rows = connection.execute(RUNNING, [run.run_id, run.machine.machine_id]).fetchall()
    return [name for (name,) in rows]


def the_one(machines: Sequence[FleetMachine], machine_id: str) -> FleetMachine:
    """Raises NotFoundError."""
    for one in machines:
        if one.machine.machine_id == machine_id.lower():
            return one
    raise NotFoundError(f"There is no machine {machine_id!r}: see `llmenv fleet machines`.")
