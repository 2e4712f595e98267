"""The schedules that the collector gave, on the disk: they hold without a collector, and over restarts.

Beside them stands what was said of each in a record, so that a record is spooled only when that changes.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv import failpoints
from llmenv.fleet.v1 import agent_service_pb2, record_pb2

from llmenv_agent import state_file
from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

FILE_NAME = "collector_schedules.json"


@dataclass(frozen=True)
class HeldSchedule:
    """`known_since`: when a schedule of this name was first heard of, Unix seconds.

    `times_since`: when the times that it has were; what is set anew with the same times keeps it.
    """

    schedule: agent_service_pb2.Schedule
    known_since: float
    times_since: float

    def has_times_of(self, other: agent_service_pb2.Schedule) -> bool:
        return (self.schedule.at, self.schedule.every_seconds) == (other.at, other.every_seconds)


class CollectorSchedules:
    """Safe to use from several threads. A file of another machine id, or a damaged one, counts as none."""

    def __init__(self, path: Path, *, machine_id: str, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._path = path
        self._machine_id = machine_id
        self._clocks = clocks
        self._lock = threading.Lock()
        self._held: dict[str, HeldSchedule] = {}
        self._said: dict[str, dict[str, Any]] = {}
        self._read()

    @property
    def held(self) -> tuple[HeldSchedule, ...]:
        """By name."""
        return tuple(self._held[name] for name in sorted(self._held))

    def take(self, told: agent_service_pb2.Schedules) -> bool:
        """Whether what the collector says differs from what was held; if so it is on the disk now.

        Raises StateError, and then holds what it held.
        """
        with self._lock:
            kept = {name: self._held[name] for name in told.undecided if name in self._held}
            now = {each.name: self._known(each) for each in told.schedules} | kept
            if now == self._held:
                return False
            failpoints.reach("agent.schedules.before_write", error=StateError)
            self._write(now)
            failpoints.reach("agent.schedules.after_write", error=StateError)
            self._held = now
            return True

    def say(
        self,
        standings: Iterable[record_pb2.ScheduleChange],
        tell: Callable[[record_pb2.ScheduleChange], None],
        *,
        is_all: bool = True,
    ) -> None:
        """`tell` is given what was not said yet.

        With `is_all` also that what is not named is removed; else what was said to be removed stays so.
        """
        with self._lock:
            standing = {
                each.schedule_id: each for each in standings if is_all or each.schedule_id in self._said
            }
            news = [each for each in standing.values() if self._said.get(each.schedule_id) != _kept(each)]
            gone = [each for each in self._said if each not in standing] if is_all else []
            for each in news:
                tell(each)
            for schedule_id in gone:
                tell(_removed(schedule_id, self._said.pop(schedule_id)))
            if news or gone:
                self._said |= {each.schedule_id: _kept(each) for each in news}
                self._write(self._held)

    def _known(self, schedule: agent_service_pb2.Schedule) -> HeldSchedule:
        former = self._held.get(schedule.name)
        now = self._clocks.wall()
        return HeldSchedule(
            schedule,
            known_since=former.known_since if former else now,
            times_since=former.times_since if former and former.has_times_of(schedule) else now,
        )

    def _read(self) -> None:
        if not self._path.exists():  # as on most machines: what reads it is not loaded then
            return
        from google.protobuf import json_format

        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            if content["machine_id"] != self._machine_id:
                return
            for each in content["schedules"]:
                schedule = json_format.ParseDict(
                    each["schedule"], agent_service_pb2.Schedule(), ignore_unknown_fields=True
                )
                self._held[schedule.name] = HeldSchedule(
                    schedule,
                    known_since=float(each["known_since"]),
                    times_since=float(each.get("times_since", each["known_since"])),
                )
            self._said = dict(content["said"])
        except (OSError, ValueError, TypeError, KeyError, json_format.ParseError):
            # The collector says it all again with the next stream.
            self._held, self._said = {}, {}

    def _write(self, held: Mapping[str, HeldSchedule]) -> None:
        from google.protobuf import json_format

        content = {
            "machine_id": self._machine_id,
            "schedules": [
                {
                    "schedule": json_format.MessageToDict(each.schedule),
                    "known_since": each.known_since,
                    "times_since": each.times_since,
                }
                for _, each in sorted(held.items())
            ],
            "said": self._said,
        }
        state_file.write(self._path, json.dumps(content, indent=2))


def _kept(change: record_pb2.ScheduleChange) -> dict[str, Any]:
    return {"name": change.schedule_name, "state": change.state, "reason": change.reason}


def _removed(schedule_id: str, said: dict[str, Any]) -> record_pb2.ScheduleChange:
    return record_pb2.ScheduleChange(
        schedule_id=schedule_id,
        schedule_name=str(said.get("name", "")),
        state=record_pb2.ScheduleChange.STATE_REMOVED,
    )
