"""Nothing lost, nothing twice, whatever is killed and whenever."""

from __future__ import annotations

import random
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .conftest import check_processes

if TYPE_CHECKING:
    import subprocess

    from .conftest import Fleet

VICTIMS = ("collector", "agent", "check")
KILLS = 12
# An interpreter without torch: every check still has its process, its records and its verdict.
BARE_PYTHON = Path(sys.executable)


def kill(fleet: Fleet, agent: subprocess.Popen[bytes], victim: str) -> None:
    if victim == "collector":
        fleet.end_collector(signal.SIGKILL)
        fleet.start_collector()
    elif victim == "agent":
        agent.kill()
    else:
        for process in check_processes(agent.pid)[:1]:
            process.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_every_record_is_stored_once_after_kills_at_random_moments(fleet: Fleet) -> None:
    """kill -9 of collector, agent and check; then the store holds each record of the spool exactly once."""
    chance = random.Random(20261124)
    configuration = fleet.configure(BARE_PYTHON)
    for number in range(KILLS):
        agent = fleet.start_agent(configuration, "--deliver-within", "20s")
        time.sleep(chance.uniform(0.3, 3.0))
        kill(fleet, agent, VICTIMS[number % len(VICTIMS)])
        agent.wait(timeout=120)
    last = fleet.start_agent(configuration, "--deliver-within", "60s")
    assert last.wait(timeout=120) == 0, (fleet.folder / "agent.log").read_text()
    fleet.end_collector(signal.SIGTERM)

    spooled = fleet.spooled()
    assert [row.sequence for row in spooled] == list(range(1, len(spooled) + 1))
    stored = fleet.stored("SELECT sequence, record_id::VARCHAR, kind FROM store.record ORDER BY sequence")
    assert stored == [(row.sequence, row.record_id, row.kind) for row in spooled]
    assert fleet.stored("SELECT stored, rejected, dropped FROM store.watermark") == [(len(spooled), 0, 0)]

    for kind, table, key in (("run_started", "run", "run_id"), ("check_finished", "result", "result_id")):
        count = sum(row.kind == kind for row in spooled)
        assert fleet.stored(f"SELECT count(*), count(DISTINCT {key}) FROM store.{table}") == [(count, count)]


@pytest.mark.slow
def test_a_run_whose_agent_was_killed_is_closed_as_interrupted(fleet: Fleet) -> None:
    """The next agent closes what the killed one left open; nothing stays in progress for ever."""
    configuration = fleet.configure(BARE_PYTHON)
    agent = fleet.start_agent(configuration)
    end = time.monotonic() + 90
    while not check_processes(agent.pid):
        assert time.monotonic() < end, "no check started"
        time.sleep(0.01)
    agent.kill()
    agent.wait()
    assert fleet.start_agent(configuration).wait(timeout=120) == 0
    fleet.end_collector(signal.SIGTERM)

    outcomes = fleet.stored("SELECT outcome FROM v1.runs ORDER BY started_at")
    assert outcomes == [("interrupted",), ("completed",)]
    without_verdict = fleet.stored(
        "SELECT check_name FROM store.check_start WHERE result_id NOT IN (SELECT result_id FROM store.result)"
    )
    assert without_verdict == []
