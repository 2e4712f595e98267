"""What has begun and not ended: runs, checks and commands.

Kept in the same transaction as the record that says so. After a kill or a panic it tells the next agent which
verdicts are missing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

if TYPE_CHECKING:
    import sqlite3

_OPEN_COMMAND_STATES = {record_pb2.CommandOutcome.STATE_ACCEPTED, record_pb2.CommandOutcome.STATE_STARTED}


@dataclass(frozen=True, kw_only=True)
class Unfinished:
    """A run ("run"), a check of a run ("check") or a command ("command") without an end."""

    kind: str
    id: str
    run_id: str
    name: str
    began_at: float


def note(connection: sqlite3.Connection, record: record_pb2.Record) -> None:
    """Follow one record that is being spooled."""
    match record.WhichOneof("kind"):
        case "run_started":
            run = record.run_started.run
            _begin(connection, "run", run.run_id, run_id=run.run_id, name=run.suite)
        case "check_started":
            check = record.check_started
            _begin(connection, "check", check.result_id, run_id=check.run_id, name=check.check_name)
        case "check_finished":
            connection.execute(
                "DELETE FROM unfinished WHERE id = ?", (record.check_finished.result.result_id,)
            )
        case "run_finished":
            connection.execute("DELETE FROM unfinished WHERE run_id = ?", (record.run_finished.run_id,))
        case "command_outcome":
            _note_command(connection, record.command_outcome)


def unfinished(connection: sqlite3.Connection) -> list[Unfinished]:
    """Oldest first."""
    rows = connection.execute(
        "SELECT kind, id, run_id, name, began_at FROM unfinished ORDER BY began_at, rowid"
    )
    return [Unfinished(**dict(row)) for row in rows]


def _note_command(connection: sqlite3.Connection, outcome: record_pb2.CommandOutcome) -> None:
    if outcome.state in _OPEN_COMMAND_STATES:
        _begin(connection, "command", outcome.command_id, run_id="", name="")
    else:
        connection.execute("DELETE FROM unfinished WHERE id = ?", (outcome.command_id,))


def _begin(connection: sqlite3.Connection, kind: str, identifier: str, *, run_id: str, name: str) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO unfinished (kind, id, run_id, name, began_at) VALUES (?, ?, ?, ?, ?)",
        (kind, identifier, run_id, name, time.time()),
    )
