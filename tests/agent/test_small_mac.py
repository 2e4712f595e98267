"""An 8 GB Mac gets through: its memory is enforced, and what does not fit says so instead of taking it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to its data")

PROGRAM = Path(__file__).resolve().parents[2] / "benchmarks" / "small_mac.py"
CHECK = '''"""Does it take what it asks for?"""

SUITES = ()
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {{}}


def run(probe):
    probe.require_memory({asked}, "what it says")
    taken = bytearray({taken})
    probe.passed("It took {{count}} bytes.", count=len(taken))
'''


def ended(*arguments: str) -> tuple[str, dict[str, object]]:
    """The table for people, and the figure."""
    command = [sys.executable, PROGRAM, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    table, _, last = done.stdout.rstrip().rpartition("\n")
    return table, json.loads(last)[0]


@pytest.mark.parametrize(
    ("asked", "taken", "word", "said"),
    [
        ("0.4e9", "400_000_000", "pass", "It took 400000000 bytes."),
        ("0.1e9", "2_000_000_000", "error", "MemoryError"),
        ("2e9", "2_000_000_000", "skip", "Does not fit: it needs 2.00 GB (what it says) and has 1.00 GB"),
    ],
)
def test_a_check_gets_what_is_free_and_no_more(
    tmp_path: Path, asked: str, taken: str, word: str, said: str
) -> None:
    """One that takes more than it asked for ends badly; one that asks for too much is skipped."""
    (tmp_path / "needy.py").write_text(CHECK.format(asked=asked, taken=taken))
    table, figure = ended(
        *("--checks", str(tmp_path), "--check", "needy", "--available", "1", "--target", sys.executable)
    )
    assert table.splitlines()[-1].split()[:2] == ["needy", word]
    assert said in table
    assert (figure["figure"], figure["holds"]) == ((1, False) if word == "error" else (0, True))


@pytest.mark.training
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_quick_suite_gets_through_three_gigabytes(training_python: Path) -> None:
    """Of a MacBook Air with 8 GB: each of its checks passes, warns, or says what does not fit."""
    table, figure = ended("--quick", "--target", str(training_python))
    assert figure["holds"], table
    assert len(table.splitlines()) >= 9
