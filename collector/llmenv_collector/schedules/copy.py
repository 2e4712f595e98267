"""Schedules as they are kept, and their copy in the store, which SQL sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1.agent_service_pb2 import Schedule
    from llmenv.fleet.v1.fleet_service_pb2 import MachineSelection

COLUMNS = {
    "schedule_id": "UUID",
    "name": "VARCHAR",
    "suite": "VARCHAR",
    "checks": "VARCHAR[]",
    "targets": "VARCHAR[]",
    "device": "VARCHAR",
    "parameters_json": "VARCHAR",
    "regardless_of_use": "BOOLEAN",
    "every_seconds": "DOUBLE",
    "cron": "VARCHAR",
    "splay_seconds": "DOUBLE",
    "machine_ids": "UUID[]",
    "labels": "VARCHAR[]",
    "condition": "VARCHAR",
    "is_for_all": "BOOLEAN",
    "set_at": "TIMESTAMPTZ",
    "set_by": "VARCHAR",
    "removed_at": "TIMESTAMPTZ",
    "removed_by": "VARCHAR",
}
ADD = "INSERT INTO store.schedule BY NAME SELECT " + ", ".join(
    f"make_timestamptz(${name}::BIGINT) AS {name}"
    if data_type == "TIMESTAMPTZ"
    else f"${name}::{data_type} AS {name}"
    for name, data_type in COLUMNS.items()
)


@dataclass(frozen=True)
class StoredSchedule:
    """One wording of a schedule.  Times are microseconds since 1970."""

    schedule: Schedule
    selection: MachineSelection
    """Machines are named by their ids."""
    set_at: int
    set_by: str
    """Label of the token, else its id."""
    removed_at: int | None = None
    removed_by: str | None = None

    @property
    def name(self) -> str:
        return self.schedule.name


def replace(connection: duckdb.DuckDBPyConnection, stored: Sequence[StoredSchedule]) -> None:
    """These and no others, in one transaction."""
    connection.execute("BEGIN")
    try:
        connection.execute("DELETE FROM store.schedule")
        for one in stored:
            connection.execute(ADD, row(one))
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def row(one: StoredSchedule) -> dict[str, Any]:
    asked, selection = one.schedule.run_checks, one.selection
    return {
        "schedule_id": one.schedule.schedule_id,
        "name": one.name,
        "suite": asked.suite,
        "checks": list(asked.checks),
        "targets": list(asked.targets),
        "device": asked.device,
        "parameters_json": asked.parameters_json,
        "regardless_of_use": asked.regardless_of_use,
        "every_seconds": one.schedule.every_seconds or None,
        "cron": one.schedule.at or None,
        "splay_seconds": asked.splay_seconds,
        "machine_ids": list(selection.machines),
        "labels": list(selection.labels),
        "condition": selection.where,
        "is_for_all": selection.all,
        "set_at": one.set_at,
        "set_by": one.set_by,
        "removed_at": one.removed_at,
        "removed_by": one.removed_by,
    }
