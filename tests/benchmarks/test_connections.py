"""What the benchmark of connections says follows from what it saw, and a small one runs to its end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
SEEN = """
import connections
seen = connections.Seen(
    machines=5_000, bare=200_000_000, half=400_000_000, whole=600_000_000, rest=0.01, idle=0.06,
    connected=50.0, drained=51.5, processor=20.0,
    refusals={"UNAVAILABLE": 2, "RESOURCE_EXHAUSTED with RetryInfo": 3},
)
connections.report(seen)
"""


def test_figures_are_those_of_ten_thousand() -> None:
    """By what one connection costs beside a collector without any; a time to come again is no fault."""
    output = called("-c", SEEN)

    rows = json.loads(output.splitlines()[-1])
    assert {row["benchmark"]: (row["figure"], row["holds"]) for row in rows} == {
        "connections_memory": (1_000.0, True),
        "connections_idle": (11.0, True),
        "connections_return": (51.5, True),
        "connections_refused": (2.0, False),
    }


@pytest.mark.slow
def test_a_few_machines_come_back() -> None:
    """All of them are connected again after the collector was killed, and what they spooled is stored."""
    output = called("connections.py", "--quick", "--machines", "6", "--idle", "0.5")

    rows = json.loads(output.splitlines()[-1])
    assert "machines    6" in output
    assert len(rows) == 4


def called(*arguments: str) -> str:
    """What it prints. However it ends, nothing that it started goes on."""
    with subprocess.Popen(
        [sys.executable, *arguments],
        cwd=BENCHMARKS,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        try:
            output, complaint = program.communicate()
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(program.pid, signal.SIGKILL)
    assert program.returncode == 0, f"{output}{complaint}"
    return output
