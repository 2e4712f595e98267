"""What has begun and not ended: runs, checks and commands; and the commands that wait for their turn.

Kept in the same transaction as the record that says so. After a kill or a panic it tells the next agent which
verdicts are missing.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import agent_service_pb2, record_pb2

if TYPE_CHECKING:
    import sqlite3


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


def accept(connection: sqlite3.Connection, command: agent_service_pb2.Command) -> bool:
    """Keep a command until it begins; False when it was seen before."""
    added = connection.execute(
        "INSERT OR IGNORE INTO command_seen (command_id, seen_at, waiting) VALUES (?, ?, ?)",
        (command.command_id, time.time(), command.SerializeToString()),
    )
    return added.rowcount == 1


def waiting(connection: sqlite3.Connection) -> list[agent_service_pb2.Command]:
    """Commands that were accepted and have not begun, oldest first, with the time that they have left now."""
    rows = connection.execute(
        "SELECT waiting, seen_at FROM command_seen WHERE waiting IS NOT NULL ORDER BY seen_at, rowid"
    )
    commands = []
    for content, seen_at in rows:
        command = agent_service_pb2.Command.FromString(content)
        # No other clock goes on while the agent is away; one that was set back takes nothing off.
        waited = max(0.0, time.time() - seen_at)
        command.expires_in_seconds -= waited
        if command.WhichOneof("action") == "run_checks":  # a share of what is left ends within the whole
            command.run_checks.splay_seconds = max(0.0, command.run_checks.splay_seconds - waited)
        commands.append(command)
    return commands


def _note_command(connection: sqlite3.Connection, outcome: record_pb2.CommandOutcome) -> None:
    if outcome.state == record_pb2.CommandOutcome.STATE_ACCEPTED:
        return
    connection.execute("UPDATE command_seen SET waiting = NULL WHERE command_id = ?", (outcome.command_id,))
    if outcome.state == record_pb2.CommandOutcome.STATE_STARTED:
        _begin(connection, "command", outcome.command_id, run_id="", name="")
    else:
        connection.execute("DELETE FROM unfinished WHERE id = ?", (outcome.command_id,))


def _begin(connection: sqlite3.Connection, kind: str, identifier: str, *, run_id: str, name: str) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO unfinished (kind, id, run_id, name, began_at) VALUES (?, ?, ?, ?, ?)",
        (kind, identifier, run_id, name, time.time()),
    )
