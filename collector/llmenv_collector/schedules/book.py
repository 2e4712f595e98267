"""The schedules that people set, kept with identity: a restored database brings none back and loses none.

A wording is never changed: what is set anew under a name is another row, and the former one is removed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1.agent_service_pb2 import Schedule
from llmenv.fleet.v1.fleet_service_pb2 import MachineSelection

from llmenv_collector.delivery.acceptance import MAX_SHOWN
from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.identity.identity_file import audit
from llmenv_collector.schedules.copy import StoredSchedule

if TYPE_CHECKING:
    from llmenv_collector.identity.identity_file import Identity

MOST_IN_FORCE = 100
READ = "SELECT schedule, selection, set_at, set_by, removed_at, removed_by FROM schedule"
REMOVE = "UPDATE schedule SET removed_at = ?, removed_by = ? WHERE name = ? AND removed_at IS NULL"


class ScheduleBook:
    """Any thread may use it."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    def all(self) -> list[StoredSchedule]:
        """Every wording there ever was, oldest first."""
        return self._read(f"{READ} ORDER BY set_at, schedule_id")

    def in_force(self) -> list[StoredSchedule]:
        """By name."""
        return self._read(f"{READ} WHERE removed_at IS NULL ORDER BY name")

    def find(self, name: str) -> StoredSchedule:
        """The one of this name that counts.  Raises NotFoundError."""
        in_force = self.in_force()
        for each in in_force:
            if each.name == name:
                return each
        known = ", ".join(each.name for each in in_force) or "none"
        raise NotFoundError(f"There is no schedule {name[:MAX_SHOWN]!r}; there are: {known}.")

    def set(self, stored: StoredSchedule, *, detail: str) -> None:
        """In place of what has its name.  Raises UsageError when there are too many."""
        with self._identity.changes() as connection:
            connection.execute(REMOVE, (stored.set_at, stored.set_by, stored.name))
            ((count,),) = connection.execute("SELECT count(*) FROM schedule WHERE removed_at IS NULL")
            if count >= MOST_IN_FORCE:
                raise UsageError(f"There are {count} schedules, and more are not kept: remove one first.")
            connection.execute(
                "INSERT INTO schedule VALUES (?, ?, ?, ?, ?, ?, NULL, NULL)",
                (
                    stored.schedule.schedule_id,
                    stored.name,
                    stored.schedule.SerializeToString(),
                    stored.selection.SerializeToString(),
                    stored.set_at,
                    stored.set_by,
                ),
            )
            audit(connection, "schedule.set", stored.name, detail)

    def remove(self, name: str, *, now: int, by: str, detail: str) -> StoredSchedule:
        """As it was kept.  Raises NotFoundError."""
        found = self.find(name)
        with self._identity.changes() as connection:
            connection.execute(REMOVE, (now, by, name))
            audit(connection, "schedule.remove", name, detail)
        return found

    def _read(self, query: str) -> list[StoredSchedule]:
        with self._identity.reading() as connection:
            return [stored(row) for row in connection.execute(query)]


def stored(row: tuple[bytes, bytes, int, str, int | None, str | None]) -> StoredSchedule:
    schedule, selection, set_at, set_by, removed_at, removed_by = row
    return StoredSchedule(
        schedule=Schedule.FromString(schedule),
        selection=MachineSelection.FromString(selection),
        set_at=set_at,
        set_by=set_by,
        removed_at=removed_at,
        removed_by=removed_by,
    )
