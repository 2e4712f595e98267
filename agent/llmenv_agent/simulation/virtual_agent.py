"""An agent whose runs are a simulated history; spool, stream and certificate are the real ones."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

from llmenv_agent.renewal import Renewal
from llmenv_agent.reporter import Reporter
from llmenv_agent.simulation.packages import MACOS, RELEASES, SYSTEMS
from llmenv_agent.spool import Spool
from llmenv_agent.spool_bounds import Bounds
from llmenv_agent.spool_file import IN_MEMORY
from llmenv_agent.tally import Tally
from llmenv_agent.work import outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.fleet.v1 import agent_service_pb2, machine_pb2

    from llmenv_agent.simulation.enrolling import Enrolled
    from llmenv_agent.simulation.pace import Pace

MOST_AT_ONCE = 128
MOST_WAITING = 2_048
"""Records of one machine that wait before its history goes on."""
# What one machine keeps of acknowledged records: many share one process.
BOUNDS = Bounds(total_bytes=256 << 20, acknowledged_bytes=1 << 20)
_LOOK_SECONDS = 0.02


@dataclass
class TimedTally(Tally):
    """Keeps each acknowledgement's seconds."""

    seconds: list[float] = field(default_factory=list)
    watermark: int = 0
    _sent_at: dict[int, float] = field(default_factory=dict)

    def sent(self, last_sequence: int) -> None:
        super().sent(last_sequence)
        self._sent_at[last_sequence] = time.monotonic()

    def was_acknowledged(self, watermark: int) -> None:
        super().was_acknowledged(watermark)
        self.watermark = max(self.watermark, watermark)
        for sequence in [each for each in self._sent_at if each <= watermark]:
            self.seconds.append(time.monotonic() - self._sent_at.pop(sequence))


class VirtualAgent:
    """Create it in the event loop that it lives in; `close` it at the end."""

    def __init__(self, enrolled: Enrolled, records: Iterator[record_pb2.Record], *, on_disk: bool) -> None:
        path = enrolled.folder / "spool.db" if on_disk else IN_MEMORY
        self.spool = Spool(path, machine_id=enrolled.identity.machine_id, bounds=BOUNDS)
        self.tally = TimedTally()
        self.appended = self._found = self.spool.marks().last_sequence
        self.measurements = self.bytes = 0
        # What an earlier simulation of the same machine has spooled is not spooled twice.
        self._records = itertools.islice(records, self.appended, None)
        self._next = next(self._records, None)
        self._facts = enrolled.machine.facts(SYSTEMS[RELEASES[MACOS][0]])
        self._reporter = Reporter(
            self.spool,
            Renewal(enrolled.folder, enrolled.identity),
            read_machine=lambda: self._facts,
            on_command=self._refuse,
        )
        self._reporter.tally = self.tally
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

    async def play(self, pace: Pace, turn: asyncio.Semaphore) -> None:
        """Spool the whole history, no faster than it is delivered; `turn` bounds how many do so at once."""
        while self._next is not None:
            seconds = pace.seconds_until(self._next.measured_at.ToDatetime(tzinfo=dt.UTC))
            if seconds > 0:
                await asyncio.sleep(min(seconds, 1.0))
            elif self.appended - self.tally.watermark > MOST_WAITING and not self._running.done():
                await asyncio.sleep(_LOOK_SECONDS)
            else:
                async with turn:
                    await asyncio.to_thread(self._append, pace)

    async def deliver(self, timeout_seconds: float) -> None:
        """Raises DeliveryError, or what ended the reporter."""
        await self._reporter.wait_until_delivered(timeout_seconds)

    async def close(self) -> None:
        """Say Goodbye."""
        self._reporter.stop()
        await asyncio.gather(self._running, return_exceptions=True)
        self.spool.close()

    def _append(self, pace: Pace) -> None:
        """What is due, and no more than MOST_AT_ONCE, in one transaction."""
        due: list[record_pb2.Record] = []
        while self._next is not None and len(due) < MOST_AT_ONCE:
            if pace.seconds_until(self._next.measured_at.ToDatetime(tzinfo=dt.UTC)) > 0:
                break
            self._facts = self._facts_of(self._next)
            due.append(self._next)
            self._next = next(self._records, None)
        self.spool.extend(due)
        for record in due:
            self._count(record)

    def _count(self, record: record_pb2.Record) -> None:
        self.appended += 1
        self.bytes += record.ByteSize()
        if record.HasField("check_finished"):
            result = record.check_finished.result
            self.measurements += len(result.measurements)
            self.measurements += sum(len(case.measurements) for case in result.cases)

    def _facts_of(self, record: record_pb2.Record | None) -> machine_pb2.Machine:
        if record is not None and record.HasField("environment_snapshot"):
            return record.environment_snapshot.machine
        if record is not None and record.HasField("run_started"):
            return record.run_started.run.machine
        return self._facts

    async def _refuse(self, command: agent_service_pb2.Command) -> None:
        refused = record_pb2.CommandOutcome.STATE_REFUSED
        reason = "This machine is simulated: it runs nothing."
        await asyncio.to_thread(self.spool.append, outcome(command.command_id, refused, reason=reason))
        self.appended += 1
