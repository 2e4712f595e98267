"""What the benchmark of connections says follows from what it saw, and a small one runs to its end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
    done = called("-c", SEEN)

    rows = json.loads(done.stdout.splitlines()[-1])
    assert {row["benchmark"]: (row["figure"], row["holds"]) for row in rows} == {
        "connections_memory": (1_000.0, True),
        "connections_idle": (11.0, True),
        "connections_return": (51.5, True),
        "connections_refused": (2.0, False),
    }


def test_a_few_machines_come_back() -> None:
    """All of them are connected again after the collector was killed, and what they spooled is stored."""
    done = called("connections.py", "--quick", "--machines", "6", "--idle", "0.5")

    rows = json.loads(done.stdout.splitlines()[-1])
    assert "machines    6" in done.stdout
    assert len(rows) == 4


def called(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], cwd=BENCHMARKS, check=True, capture_output=True, text=True
    )
