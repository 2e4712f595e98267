"""Makes the reports that are due, one after the other, while a collector serves.

What was missed while it did not serve is made up for once, not as often as it was missed.  A report is asked
for as a person's is, within the same bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.errors import CollectorError, UsageError
from llmenv_collector.identity.identity_file import audit
from llmenv_collector.notices import notice_store
from llmenv_collector.notices.notice_store import Notice
from llmenv_collector.notices.state_change import whole
from llmenv_collector.notices.webhook import REPORT
from llmenv_collector.scheduled import report_folder, report_times
from llmenv_collector.scheduled.report_times import Ended
from llmenv_collector.serving import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

    import duckdb
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportRequest

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.notices.work import NoticeWork
    from llmenv_collector.scheduled.scheduled_report import ScheduledReport
    from llmenv_collector.storage.store import Store

    Make = Callable[[GetFleetReportRequest, str, str], Awaitable[bytes]]

logger = logging.getLogger(__name__)

LONGEST_REST_SECONDS = 30.0
MOST_BYTES = 1 << 20
"""Of a report that is sent to a webhook."""


@dataclass(kw_only=True)
class Tried:
    """A report that was tried, and what is still to be written down of that."""

    report: ScheduledReport
    ended: Ended
    notice: Notice | None
    is_audited: bool = False


class ReportWork:
    """Lives in the event loop."""

    def __init__(
        self,
        reports: Sequence[ScheduledReport],
        *,
        store: Store,
        identity: Identity,
        notices: NoticeWork,
        make: Make,
        begun_at: int | None = None,
    ) -> None:
        """`make` takes a request, a format and a language."""
        self._reports = reports
        self._store = store
        self._identity = identity
        self._notices = notices
        self._make = make
        self._begun_at = clock.now() if begun_at is None else begun_at
        self._ended_at: dict[str, int] = {}
        self._tried: list[Tried] = []

    async def keep_on_time(self) -> None:
        """Until it is cancelled."""
        while True:
            rest = LONGEST_REST_SECONDS
            try:
                rest = await self.round()
            except CollectorError as error:
                logger.warning("scheduled reports wait: %s", error)
            await asyncio.sleep(rest)

    async def round(self) -> float:
        """Makes what is due; returns the seconds until the next look.

        What was made is not made again because it could not be written down.
        """
        for report in self._reports:
            due_at = await self._due_at(report)
            if due_at <= clock.now() and not self._is_unsent(report):
                self._tried.append(await self._make_one(report, due_at))
                with contextlib.suppress(CollectorError):
                    await self._write_down()
        await self._write_down()
        due = [await self._due_at(report) for report in self._reports]
        return min(max((min(due) - clock.now()) / clock.MICROSECONDS, 0.0), LONGEST_REST_SECONDS)

    async def _due_at(self, report: ScheduledReport) -> int:
        """The first time after it was last tried, or after the collector began."""
        if report.name not in self._ended_at:
            ended_at = await asyncio.to_thread(self._read_ended, report.name)
            self._ended_at[report.name] = self._begun_at if ended_at is None else ended_at
        ended_at = self._ended_at[report.name]
        return int(report.next_after(ended_at / clock.MICROSECONDS) * clock.MICROSECONDS)

    def _is_unsent(self, report: ScheduledReport) -> bool:
        """One for a webhook waits in memory until it is in the store: no second is made meanwhile."""
        return any(one.report.name == report.name and one.notice is not None for one in self._tried)

    async def _make_one(self, report: ScheduledReport, due_at: int) -> Tried:
        now, notice, is_made = clock.now(), None, True
        try:
            content = await self._make(report.request(now=now), report.format, report.language)
            if report.folder is None:
                notice = notice_of(report, content)
                outcome = f"to webhook {report.webhook}"
            else:
                outcome = await asyncio.to_thread(self._write, report, report.folder, content, now)
        except (CollectorError, OSError) as error:
            is_made = False
            outcome = str(error) if isinstance(error, CollectorError) else f"it cannot be written: {error}"
            logger.error("report %s: %s", report.name, outcome)  # noqa: TRY400 (a sentence, no traceback)
        ended = Ended(name=report.name, due_at=due_at, ended_at=clock.now(), is_made=is_made, outcome=outcome)
        self._ended_at[report.name] = ended.ended_at
        return Tried(report=report, ended=ended, notice=notice)

    async def _write_down(self) -> None:
        """What became of each, together with the notice that carries it.  Raises CollectorError."""
        while self._tried:
            one = self._tried[0]
            if not one.is_audited:
                await asyncio.to_thread(self._audit, one.report, one.ended.outcome)
                one.is_audited = True
            keep = functools.partial(self._keep, one.ended, one.notice, one.report)
            await asyncio.wrap_future(self._store.request(whole(keep)))
            self._tried.remove(one)
            metrics.REPORTS.labels("made" if one.ended.is_made else "failed").inc()
            if one.notice is not None:
                self._notices.wake()

    def _keep(
        self,
        ended: Ended,
        notice: Notice | None,
        report: ScheduledReport,
        connection: duckdb.DuckDBPyConnection,
    ) -> None:
        report_times.add(connection, ended)
        if notice is not None:
            webhook = self._notices.webhooks[report.webhook]
            notice_store.add(connection, notice, [webhook], now=ended.ended_at)

    def _write(self, report: ScheduledReport, folder: Path, content: bytes, now: int) -> str:
        """Where it is.  Raises OSError."""
        return str(report_folder.write(report, folder, content, seconds=now / clock.MICROSECONDS))

    def _read_ended(self, name: str) -> int | None:
        with self._store.reader() as connection:
            return report_times.last_ended(connection, name)

    def _audit(self, report: ScheduledReport, outcome: str) -> None:
        with self._identity.changes() as connection:
            audit(connection, "report.make", report.name, outcome)


def notice_of(report: ScheduledReport, content: bytes) -> Notice:
    """Raises UsageError for one that is too large."""
    if len(content) > MOST_BYTES:
        raise UsageError(
            f"It has {len(content):,} bytes and a webhook takes {MOST_BYTES:,}: ask for a shorter period or"
            " fewer machines, or have it written to a folder."
        )
    return Notice(kind=REPORT, subject=report.name, content=content)
