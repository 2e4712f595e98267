"""Fifty rounds of chaos; `make chaos` plays a thousand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
ROUNDS = int(os.environ.get("LLMENV_CHAOS_ROUNDS", "50"))
SEED = 20261125


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_nothing_is_lost_and_nothing_is_doubled_in_chaos() -> None:
    """Kills, failpoints, pauses, bad networks, full disks, stepped clocks, older copies: every record once.

    In a process of its own, since it leaves for a network of its own. A failure prints the round's seed.
    """
    command = [sys.executable, "-m", "tests.chaos", "--rounds", str(ROUNDS), "--seed", str(SEED)]
    played = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert played.returncode == 0, played.stdout[-4_000:] + played.stderr[-4_000:]
    assert " unexplained 0 " in played.stdout
