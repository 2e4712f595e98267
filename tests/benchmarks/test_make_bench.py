"""`make bench` runs every benchmark, those of scale first."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SCALE = ["ingest", "connections", "storage", "peers", "lake"]
PROGRAMS = sorted(
    path.stem for path in (REPOSITORY / "benchmarks").glob("*.py") if path.stem != "plain_check"
)


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_sections_of_scale_come_first() -> None:
    """In the order in which they are explained; nothing is left out, and nothing runs twice."""
    (names,) = re.findall(r"for name in ([^;]+);", would_do())

    scale = [name for name in SCALE if name in PROGRAMS]
    assert names.split()[: len(scale)] == scale
    assert sorted(names.split()) == PROGRAMS


@pytest.mark.skipif(shutil.which("make") is None, reason="no make here")
def test_one_section_can_be_asked_for() -> None:
    """With what it is given."""
    said = would_do("BENCH=peers", "BENCH_FLAGS=--quick")

    assert re.findall(r"for name in ([^;]+);", said) == ["peers"]
    assert "$name.py --quick" in said


def would_do(*settings: str) -> str:
    """Whatever make this test itself was started by."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    said = subprocess.run(
        ["make", "--dry-run", "bench", *settings],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return said.stdout


@pytest.mark.parametrize("name", PROGRAMS)
def test_each_benchmark_has_a_quick_form(name: str) -> None:
    """So that all can be tried in minutes."""
    assert '"--quick"' in (REPOSITORY / "benchmarks" / f"{name}.py").read_text()
