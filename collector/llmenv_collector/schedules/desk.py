"""Schedules as people give them: set, removed and listed.

A schedule is for whichever machines satisfy its selection, now or later; machines that are named are kept by
their ids, since a machine says its hostname itself.  A change has its audit row in its own transaction.
"""

from __future__ import annotations

import asyncio
import math
import re
from typing import TYPE_CHECKING, Any

from llmenv import failpoints
from llmenv.cron import parse_cron
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id

from llmenv_collector import clock
from llmenv_collector.delivery.acceptance import MAX_SHOWN
from llmenv_collector.errors import StoreError, UsageError
from llmenv_collector.fleet.machine_selection import by_ids
from llmenv_collector.fleet_commands.desk import described, require_acceptable
from llmenv_collector.schedules.copy import StoredSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.delivery.streams import Streams
    from llmenv_collector.fleet.machine_selection import Candidate, Selector
    from llmenv_collector.identity.tokens import Token
    from llmenv_collector.schedules.assignment import ScheduleAssignment
    from llmenv_collector.schedules.book import ScheduleBook
    from llmenv_collector.storage.store import Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
SHORTEST_SECONDS, LONGEST_SECONDS = 60.0, 366 * 86_400.0
MOST_BYTES = 64 << 10
LONGEST_TIMES = 500
STATES = """
SELECT machine_id::VARCHAR, state, reason, epoch_us(said_at), runs, coalesce(last_run_id::VARCHAR, ''),
       epoch_us(last_run_at)
FROM v1.machine_schedules WHERE schedule_id = ?::UUID
"""


class ScheduleDesk:
    """Lives in the event loop; what takes time is done in threads."""

    def __init__(
        self,
        *,
        book: ScheduleBook,
        assignment: ScheduleAssignment,
        selector: Selector,
        store: Store,
        streams: Streams,
    ) -> None:
        self._book = book
        self._assignment = assignment
        self._selector = selector
        self._store = store
        self._streams = streams

    async def set(self, request: fleet.SetScheduleRequest, *, by: Token) -> fleet.FleetSchedule:
        """Raises UsageError, or NotFoundError for a machine that is named and not there."""
        require_schedule(request.schedule)
        candidates = await self._selector.candidates()
        selection = by_ids(request.selection, candidates)
        chosen, _ = await self._selector.among(candidates, selection, person=by.token_id)
        stored = StoredSchedule(
            schedule=wire.Schedule(),
            selection=selection,
            set_at=clock.now(),
            set_by=by.label or by.token_id,
        )
        stored.schedule.CopyFrom(request.schedule)
        stored.schedule.schedule_id = "" if request.is_dry_run else new_id()
        if request.is_dry_run:
            return self._shown(stored, chosen, {})
        detail = f"{times(stored.schedule)}: {described(stored.schedule.run_checks)}, by token {by.token_id}"
        await asyncio.to_thread(self._book.set, stored, detail=detail)
        failpoints.reach("collector.schedule.kept", error=StoreError)
        await self._assignment.look()
        return await self._described(stored)

    async def remove(self, name: str, *, by: Token) -> fleet.FleetSchedule:
        """Raises NotFoundError."""
        found = await self._described(await asyncio.to_thread(self._book.find, name))
        await asyncio.to_thread(
            self._book.remove,
            name,
            now=clock.now(),
            by=by.label or by.token_id,
            detail=f"by token {by.token_id}",
        )
        await self._assignment.look()
        return found

    async def listed(self, name: str) -> list[fleet.FleetSchedule]:
        """By name.  Raises NotFoundError for a name that there is not."""
        if name:
            return [await self._described(await asyncio.to_thread(self._book.find, name))]
        return [await self._described(one) for one in await asyncio.to_thread(self._book.in_force)]

    async def _described(self, stored: StoredSchedule) -> fleet.FleetSchedule:
        states = await asyncio.to_thread(self._states, stored.schedule.schedule_id)
        whom = self._assignment.whom(stored.name)
        return self._shown(stored, whom.machines, states, trouble=whom.trouble)

    def _states(self, schedule_id: str) -> dict[str, Sequence[Any]]:
        with self._store.reader() as connection:
            return {row[0]: row[1:] for row in connection.execute(STATES, [schedule_id]).fetchall()}

    def _shown(
        self,
        stored: StoredSchedule,
        machines: Sequence[Candidate],
        states: dict[str, Sequence[Any]],
        *,
        trouble: str = "",
    ) -> fleet.FleetSchedule:
        connected = self._streams.connected()
        return fleet.FleetSchedule(
            schedule=stored.schedule,
            selection=stored.selection,
            set_at=clock.to_timestamp(stored.set_at),
            set_by=stored.set_by,
            machines=[
                machine(one, states.get(one.machine_id), is_connected=one.machine_id in connected)
                for one in machines
            ],
            trouble=trouble,
        )


def machine(one: Candidate, said: Sequence[Any] | None, *, is_connected: bool) -> fleet.ScheduledMachine:
    shown = fleet.ScheduledMachine(
        machine_id=one.machine_id, hostname=one.hostname, is_connected=is_connected
    )
    if said is None:
        return shown
    state, reason, said_at, runs, last_run_id, last_run_at = said
    shown.state = state_of(state)
    shown.reason, shown.runs, shown.last_run_id = reason, runs, last_run_id
    for name, moment in (("said_at", said_at), ("last_run_at", last_run_at)):
        if moment is not None:
            getattr(shown, name).CopyFrom(clock.to_timestamp(moment))
    return shown


def state_of(word: str) -> record_pb2.ScheduleChange.State.ValueType:
    """Unspecified for a word of a newer agent."""
    known: dict[str, record_pb2.ScheduleChange.State.ValueType] = dict(
        record_pb2.ScheduleChange.State.items()
    )
    return known.get(f"STATE_{word.upper()}", record_pb2.ScheduleChange.STATE_UNSPECIFIED)


def require_schedule(schedule: wire.Schedule) -> None:
    """Raises UsageError."""
    if not NAME.fullmatch(schedule.name):
        raise UsageError(
            f"{schedule.name[:MAX_SHOWN]!r} names no schedule: take letters, digits, and . _ - between them,"
            " 64 at most."
        )
    if schedule.ByteSize() > MOST_BYTES:
        raise UsageError(f"A schedule has at most {MOST_BYTES} bytes, not {schedule.ByteSize()}.")
    require_acceptable(schedule.run_checks)
    if bool(schedule.at) == bool(schedule.every_seconds):
        raise UsageError("Say either how often it runs or at what times of day.")
    if schedule.at:
        require_times(schedule.at)
    else:
        require_interval(schedule)


def require_times(expression: str) -> None:
    if len(expression) > LONGEST_TIMES:
        raise UsageError(f"Times of day have at most {LONGEST_TIMES} characters, not {len(expression)}.")
    try:
        parse_cron(expression)
    except ValueError as error:
        raise UsageError(f"The times of day cannot be read: {error}.") from error


def require_interval(schedule: wire.Schedule) -> None:
    seconds, splay = schedule.every_seconds, schedule.run_checks.splay_seconds
    if not (math.isfinite(seconds) and SHORTEST_SECONDS <= seconds <= LONGEST_SECONDS):
        raise UsageError(
            f"It runs every minute at most and every 366 days at least, not every {seconds:g} s."
        )
    if splay > seconds:
        raise UsageError(f"The splay of {splay:g} s is longer than the interval of {seconds:g} s.")


def times(schedule: wire.Schedule) -> str:
    """For the audit."""
    return f'at "{schedule.at}"' if schedule.at else f"every {schedule.every_seconds:g} s"
