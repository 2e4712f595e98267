"""A collector goes back to an older backup: the agents bring the rest, and every record has its place."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import BIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Fleet

# An interpreter without torch, and one short check.
CONFIGURATION = """
[suite.small]
checks = ["packages"]
[schedule.small]
every = "24h"
splay = "0s"
"""
WITHIN_SECONDS = 90.0


@contextlib.contextmanager
def agent(fleet: Fleet) -> Iterator[None]:
    """The daemon, which goes on all the while."""
    path = fleet.configure(Path(sys.executable), *CONFIGURATION.splitlines())
    with (fleet.folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(
            [str(BIN / "llmenv-agent"), "run", "--config", str(path)], env=fleet.environment, stderr=log
        )
    until(
        fleet, lambda: process.poll() is not None or "connected" in (fleet.folder / "agent.log").read_text()
    )
    assert process.poll() is None, (fleet.folder / "agent.log").read_text()
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=90)


def until(fleet: Fleet, condition: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_SECONDS
    while not condition():
        assert time.monotonic() < end, (fleet.folder / "agent.log").read_text()
        time.sleep(0.2)


def spool(fleet: Fleet) -> sqlite3.Connection:
    connection = sqlite3.connect(fleet.folder / "agent" / "spool.db", timeout=20)
    connection.row_factory = sqlite3.Row
    return connection


def is_delivered(fleet: Fleet, kind: str) -> bool:
    """Everything acknowledged, and a record of this kind among it."""
    with contextlib.closing(spool(fleet)) as connection:
        marks = connection.execute("SELECT watermark, last_sequence FROM spool").fetchone()
    is_there = any(row.kind == kind for row in fleet.spooled())
    return is_there and marks["watermark"] == marks["last_sequence"]


def restore_meanwhile(fleet: Fleet, backup: Path, *, change: Callable[[], None] = lambda: None) -> str:
    """The collector ends, goes back, and serves again."""
    fleet.end_collector(signal.SIGTERM)
    change()
    restored = fleet.call("llmenv-collector", "restore", str(backup))
    fleet.start_collector()
    return restored.stderr


def delivery(fleet: Fleet) -> list[dict[str, Any]]:
    """The ledger by spool; exit code 0 says that nothing is unexplained."""
    answer: list[dict[str, Any]] = json.loads(
        fleet.call("llmenv", "fleet", "delivery", "--format", "json").stdout
    )
    return answer


@pytest.mark.slow
def test_agents_deliver_again_what_a_restored_collector_lacks(fleet: Fleet) -> None:
    """The agent sees the connection break, no more, and in the end the store has each of its records once."""
    with agent(fleet):
        until(fleet, lambda: is_delivered(fleet, "environment_snapshot"))
        backup = fleet.folder / "backup"
        fleet.call("llmenv-collector", "backup", str(backup))
        until(fleet, lambda: is_delivered(fleet, "run_finished"))
        said = restore_meanwhile(fleet, backup)
        assert "agents are asked for them again" in said
        assert "those of the backup, withdrawn ones too" in said
        until(fleet, lambda: delivery(fleet)[0]["stored"] == len(fleet.spooled()))
        (account,) = delivery(fleet)
        assert (account["lost_by_restore"], account["waiting"], account["unexplained"]) == (0, 0, 0)
    fleet.end_collector(signal.SIGTERM)
    stored = fleet.stored("SELECT sequence, record_id::VARCHAR, kind FROM store.record ORDER BY sequence")
    assert stored == [(row.sequence, row.record_id, row.kind) for row in fleet.spooled()]


@pytest.mark.slow
def test_what_no_agent_holds_any_more_is_lost_by_restore_and_its_environment_asked_for(fleet: Fleet) -> None:
    """The backup is older than what the machine kept: the loss has its place, the environment comes again."""
    backup = fleet.folder / "backup"
    fleet.call("llmenv-collector", "backup", str(backup))

    def prune() -> None:
        with contextlib.closing(spool(fleet)) as connection, connection:
            connection.execute("DELETE FROM record WHERE sequence < (SELECT watermark FROM spool)")

    with agent(fleet):
        until(fleet, lambda: is_delivered(fleet, "run_finished"))
        minted = len(fleet.spooled())
        restore_meanwhile(fleet, backup, change=prune)
        until(fleet, lambda: is_delivered(fleet, "environment_snapshot"))
        until(fleet, lambda: sum(account["stored"] for account in delivery(fleet)) == 3)
        accounts = [(one["minted"], one["stored"], one["lost_by_restore"]) for one in delivery(fleet)]
        assert sorted(accounts) == [(3, 3, 0), (minted - 1, 0, minted - 1)]
    fleet.end_collector(signal.SIGTERM)
    assert [row.kind for row in fleet.spooled()] == ["spool_forked", "run_finished", "environment_snapshot"]
    assert fleet.stored("SELECT count(*) FROM store.environment_sighting") == [(1,)]
