"""Which schedules each machine has to go by, kept true while machines, labels and facts change.

Whom a schedule is for is looked at again every minute, and at once when one is set or an unknown machine
connects.  Conditions of SQL cost a process each: they are evaluated when something that they may depend on
has changed, and once an hour, since they may depend on the time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb
from llmenv.fleet.v1 import agent_service_pb2 as wire

from llmenv_collector import clock
from llmenv_collector.errors import CollectorError
from llmenv_collector.schedules import copy as schedule_copy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.fleet.machine_selection import Candidate, Selector
    from llmenv_collector.schedules.book import ScheduleBook
    from llmenv_collector.schedules.copy import StoredSchedule
    from llmenv_collector.storage.store import Store

logger = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
SETTLE_SECONDS = 1.0
"""Many machines connect in one moment."""
TRUE_FOR_SECONDS = 3_600.0
TROUBLED_FOR_SECONDS = 600.0
PERSON = "the schedules"
"""Whose turns their conditions take: nobody's token has this id."""
FACTS = "SELECT bit_xor(hash(facts)) FROM (SELECT * EXCLUDE (last_seen_at) FROM v1.machines) AS facts"


@dataclass(frozen=True)
class Whom:
    """The machines of one schedule; `trouble` says why that could not be found out."""

    machines: tuple[Candidate, ...] = ()
    trouble: str = ""


@dataclass(frozen=True)
class Assignment:
    """As of one look."""

    schedules: dict[str, wire.Schedules] = field(default_factory=dict)
    """By machine: every machine there is."""
    whom: dict[str, Whom] = field(default_factory=dict)
    """By name of the schedule."""


class ScheduleAssignment:
    """Lives in the event loop."""

    def __init__(self, *, book: ScheduleBook, selector: Selector, store: Store, streams: Streams) -> None:
        self._book = book
        self._selector = selector
        self._store = store
        self._streams = streams
        self._now: Assignment | None = None
        self._seen: object = None
        self._copied: object = None
        self._true_until = 0.0
        self._asked = asyncio.Event()
        self._turn = asyncio.Lock()

    def told(self, machine_id: str) -> wire.Schedules | None:
        """What the machine is to go by; None while that is not known."""
        if self._now is None:
            return None
        schedules = self._now.schedules.get(machine_id)
        if schedules is None:
            self._asked.set()
        return schedules

    def whom(self, name: str) -> Whom:
        return self._now.whom.get(name, Whom()) if self._now else Whom()

    async def keep_up(self) -> None:
        """For as long as the collector serves."""
        while True:
            try:
                await self.look()
            except (CollectorError, duckdb.Error) as error:
                logger.warning("schedules: %s", error)
            await asyncio.sleep(SETTLE_SECONDS)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_SECONDS)
            self._asked.clear()

    async def look(self) -> None:
        """Finds out anew where something has changed, and has the machines concerned told."""
        async with self._turn:
            began = clock.now()
            in_force = await asyncio.to_thread(self._book.in_force)
            await self._copy(in_force)
            candidates = await self._selector.candidates()
            facts = await self._facts(in_force)
            seen = [one.schedule.schedule_id for one in in_force], candidates, facts
            if seen == self._seen and time.monotonic() < self._true_until:
                return
            true_for = await self._assign(in_force, candidates, began=began)
            self._seen, self._true_until = seen, time.monotonic() + true_for

    async def _assign(
        self, in_force: Sequence[StoredSchedule], candidates: Sequence[Candidate], *, began: int
    ) -> float:
        """Returns for how many seconds it holds where nothing changes."""
        whom, true_for = {}, TRUE_FOR_SECONDS
        for one in in_force:
            try:
                chosen, as_of = await self._selector.among(candidates, one.selection, person=PERSON)
                whom[one.name] = Whom(tuple(chosen))
                # A condition is evaluated on a copy of the database, which may be older than what changed.
                true_for = true_for if as_of is None or as_of >= began else min(true_for, LOOK_SECONDS)
            except (CollectorError, duckdb.Error) as error:
                logger.warning("whom schedule %s is for: %s", one.name, error)
                whom[one.name] = Whom(self.whom(one.name).machines, trouble=str(error))
                true_for = min(true_for, TROUBLED_FOR_SECONDS)
        former = self._now.schedules if self._now else {}
        told, changed = await asyncio.to_thread(compared, in_force, candidates, whom, former)
        self._now = Assignment(told, whom)
        self._streams.reschedule(changed)
        return true_for

    async def _facts(self, in_force: Sequence[StoredSchedule]) -> object:
        """Changes when what conditions look at does."""
        if not any(one.selection.where for one in in_force):
            return None

        def read() -> object:
            with self._store.reader() as connection:
                return connection.execute(FACTS).fetchone()

        return await asyncio.to_thread(read)

    async def _copy(self, in_force: Sequence[StoredSchedule]) -> None:
        """What SQL sees of them, also after the database was restored from a backup."""
        ids = [one.schedule.schedule_id for one in in_force]
        if ids == self._copied:
            return
        stored = await asyncio.to_thread(self._book.all)
        try:
            await asyncio.wrap_future(
                self._store.request(lambda connection: schedule_copy.replace(connection, stored))
            )
            self._copied = ids
        except CollectorError as error:  # a full disk keeps nobody from being scheduled
            logger.warning("schedules are not copied for SQL: %s", error)


def compared(
    in_force: Sequence[StoredSchedule],
    candidates: Sequence[Candidate],
    whom: dict[str, Whom],
    former: dict[str, wire.Schedules],
) -> tuple[dict[str, wire.Schedules], list[str]]:
    """What each machine is told, and which machines are told something else than before."""
    told = by_machine(in_force, candidates, whom)
    return told, [each for each, schedules in told.items() if schedules != former.get(each)]


def by_machine(
    in_force: Sequence[StoredSchedule], candidates: Sequence[Candidate], whom: dict[str, Whom]
) -> dict[str, wire.Schedules]:
    """What each machine is told, one message for all that are told the same.

    Of a schedule in trouble a machine keeps what it has.
    """
    undecided = [name for name, one in whom.items() if one.trouble]
    numbers: dict[str, list[int]] = {one.machine_id: [] for one in candidates}
    for number, stored in enumerate(in_force):
        for one in () if stored.name in undecided else whom[stored.name].machines:
            numbers[one.machine_id].append(number)
    messages = {
        chosen: wire.Schedules(schedules=[in_force[one].schedule for one in chosen], undecided=undecided)
        for chosen in {tuple(each) for each in numbers.values()}
    }
    return {machine_id: messages[tuple(each)] for machine_id, each in numbers.items()}
