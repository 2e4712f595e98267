"""An agent whose runs are a simulated history; spool, stream and certificate are the real ones."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import itertools
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

from llmenv_agent.renewal import Renewal
from llmenv_agent.reporter import Reporter
from llmenv_agent.simulation.cuttable_line import CuttableLine
from llmenv_agent.simulation.histogram import Histogram
from llmenv_agent.simulation.packages import MACOS, RELEASES, SYSTEMS
from llmenv_agent.simulation.progress import Progress
from llmenv_agent.simulation.runwise_spool import RunwiseSpool
from llmenv_agent.simulation.timed_tally import Content, TimedTally
from llmenv_agent.simulation.witness import Witness
from llmenv_agent.spool import Spool
from llmenv_agent.spool_bounds import Bounds
from llmenv_agent.spool_file import IN_MEMORY
from llmenv_agent.work import outcome

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.fleet.v1 import agent_service_pb2, machine_pb2

    from llmenv_agent.simulation.enrolling import Enrolled
    from llmenv_agent.simulation.pace import Pace
    from llmenv_agent.simulation.play import Play
    from llmenv_agent.tally import Tally

MOST_AT_ONCE = 128
MOST_WAITING, MOST_WAITING_IN_ALL = 2_048, 400_000
"""Records of one machine, and of all, that wait before a history goes on."""
MOST_KEPT_BYTES, MOST_KEPT_BYTES_IN_ALL = 1 << 20, 256 << 20
"""What one machine, and all, keep of acknowledged records."""
_TOTAL_BYTES = 1 << 30
_LOOK_SECONDS = 0.02


class VirtualAgent:
    """Create it in the event loop that it lives in; `connect` it, and `close` it at the end."""

    def __init__(self, enrolled: Enrolled, records: Iterator[record_pb2.Record], play: Play) -> None:
        self.index = enrolled.machine.index
        self.spool = _spool(enrolled, play)
        self.tally, self.line, self.lateness = TimedTally(), CuttableLine(), Histogram()
        marks = self.spool.marks()
        self.appended = self.tally.last_spooled = marks.last_sequence
        self._found = self.tally.watermark = marks.watermark
        self._content = Content()
        self._is_unapproved = False
        # What an earlier simulation of the same machine has spooled is not spooled twice.
        self._groups = _groups(itertools.islice(records, self.appended, None), by_run=play.a_run_a_message)
        self._next = next(self._groups, None)
        self._most_waiting = max(64, min(MOST_WAITING, MOST_WAITING_IN_ALL // play.machines))
        self._facts = enrolled.machine.facts(SYSTEMS[RELEASES[MACOS][0]])
        self._renewal = Renewal(enrolled.folder, enrolled.identity)
        # Before the reporter, which sends at once: a record is timed before it can be acknowledged.
        self.spool.subscribe(self._note_spooled)
        self._reporter = self._new_reporter(self.tally)
        self._running: asyncio.Task[None] | None = None

    @property
    def progress(self) -> Progress:
        return Progress(
            spooled=self.appended, delivered=self.delivered, unapproved=1 if self._is_unapproved else 0
        )

    def connect(self) -> None:
        self.tally.starts()
        self._running = asyncio.create_task(self._reporter.run())

    @property
    def delivered(self) -> int:
        """Records acknowledged in this simulation, a count."""
        return max(0, self.tally.watermark - self._found)

    def is_whole(self) -> bool:
        """Whether every record that was spooled is minted once, and stored at the collector."""
        ledger = self.spool.ledger()
        accounted = ledger.stored + ledger.rejected + ledger.waiting + ledger.dropped
        return ledger.minted == self.appended == accounted == ledger.stored

    def fill(self) -> None:
        """Spool the whole history, whoever waits for it."""
        while self._next is not None:
            self._append(None)

    async def play(self, pace: Pace, turn: asyncio.Semaphore) -> None:
        """Spool the history, no faster than it is delivered; `turn` bounds how many do so at once."""
        while self._next is not None and pace.seconds_left() > 0:
            seconds = pace.seconds_until(_moment(self._next))
            if seconds > 0:
                await asyncio.sleep(min(seconds, pace.seconds_left()))
            elif self.appended - self.tally.watermark <= self._most_waiting:
                async with turn:
                    await asyncio.to_thread(self._append, pace)
            elif self._running is not None and self._running.done():
                break
            else:
                await asyncio.sleep(_LOOK_SECONDS)

    async def deliver(self, timeout_seconds: float) -> None:
        """Raises DeliveryError, or what ended the reporter."""
        await self._reporter.wait_until_delivered(timeout_seconds)

    async def collector_agrees(self, timeout_seconds: float) -> bool:
        """Whether the collector, asked on a new stream after this one, says that it holds every record."""
        await self._end()
        witness, before = Witness(), self.spool.marks()
        self._reporter = self._new_reporter(witness)
        self._running = asyncio.create_task(self._reporter.run())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(witness.told(), timeout_seconds)
        await self._end()
        return witness.holds == before.last_sequence and self.spool.marks().spool_id == before.spool_id

    async def close(self) -> None:
        await self._end()
        self.spool.close()

    async def _end(self) -> None:
        """Say Goodbye."""
        self._reporter.stop()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)

    def _new_reporter(self, tally: Tally) -> Reporter:
        reporter = Reporter(
            self.spool,
            self._renewal,
            read_machine=lambda: self._facts,
            on_command=self._refuse,
            on_waiting=self._note_waiting,
            line=self.line,
        )
        reporter.tally = tally
        return reporter

    def _append(self, pace: Pace | None) -> None:
        """What is due, and no more than MOST_AT_ONCE, in one transaction."""
        due: list[record_pb2.Record] = []
        while self._next is not None and len(due) < MOST_AT_ONCE:
            seconds = pace.seconds_until(_moment(self._next)) if pace else 0.0
            if seconds > 0:
                break
            if pace and pace.factor:
                self.lateness.add(-seconds)
            self._facts = self._facts_of(self._next)
            due += self._next
            self._next = next(self._groups, None)
        self._content = content_of(due)
        self.spool.extend(due)
        self.appended += len(due)

    def _note_waiting(self, reason: str) -> None:
        self._is_unapproved = bool(reason)

    def _note_spooled(self) -> None:
        content, self._content = self._content, Content()
        self.tally.spooled(self.spool.marks().last_sequence, content)

    def _facts_of(self, group: list[record_pb2.Record]) -> machine_pb2.Machine:
        for record in group:
            if record.HasField("environment_snapshot"):
                return record.environment_snapshot.machine
            if record.HasField("run_started"):
                return record.run_started.run.machine
        return self._facts

    async def _refuse(self, command: agent_service_pb2.Command) -> None:
        refused = record_pb2.CommandOutcome.STATE_REFUSED
        reason = "This machine is simulated: it runs nothing."
        await asyncio.to_thread(self.spool.append, outcome(command.command_id, refused, reason=reason))
        self.appended += 1


def _spool(enrolled: Enrolled, play: Play) -> Spool:
    path = enrolled.folder / "spool.db" if play.on_disk else IN_MEMORY
    kept = max(1 << 15, min(MOST_KEPT_BYTES, MOST_KEPT_BYTES_IN_ALL // play.machines))
    bounds = Bounds(total_bytes=_TOTAL_BYTES, acknowledged_bytes=kept)
    kind = RunwiseSpool if play.a_run_a_message else Spool
    return kind(path, machine_id=enrolled.identity.machine_id, bounds=bounds)


def content_of(records: Sequence[record_pb2.Record]) -> Content:
    results = [each.check_finished.result for each in records if each.HasField("check_finished")]
    return Content(
        runs=sum(each.HasField("run_finished") for each in records),
        measurements=sum(
            len(each.measurements) + sum(len(case.measurements) for case in each.cases) for each in results
        ),
        bytes=sum(each.ByteSize() for each in records),
    )


def _groups(records: Iterator[record_pb2.Record], *, by_run: bool) -> Iterator[list[record_pb2.Record]]:
    """What is spooled together: each record by itself, or all up to the end of a run."""
    group: list[record_pb2.Record] = []
    for record in records:
        group.append(record)
        if not by_run or record.HasField("run_finished"):
            yield group
            group = []
    if group:
        yield group


def _moment(group: list[record_pb2.Record]) -> dt.datetime:
    """When the last of it happens."""
    return group[-1].measured_at.ToDatetime(tzinfo=dt.UTC)
