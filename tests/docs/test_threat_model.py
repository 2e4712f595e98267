"""The threat model names tests: each of them exists."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_every_test_of_the_threat_model_exists(docs: Path) -> None:
    """A function of that name, or a file of tests; each threat has one at least."""
    page = (docs / "threat-model.md").read_text(encoding="utf-8")
    tests = docs.parent / "tests"
    functions = {
        name
        for path in tests.rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", page))
    assert named - functions == set()
    files = re.findall(r"`(tests/[\w/]+\.py)`", page)
    assert [name for name in files if not (docs.parent / name).exists()] == []
    threats = [line for line in page.splitlines() if line.startswith("| ") and "| ---" not in line]
    without = [line for line in threats if "`test" not in line and not line.startswith("| Threat |")]
    assert without == []
    assert len(threats) > 25


def test_the_six_kinds_of_stride_are_there(docs: Path) -> None:
    """Each with a table."""
    page = (docs / "threat-model.md").read_text(encoding="utf-8")
    kinds = ("Spoofing", "Tampering", "Repudiation", "Information disclosure", "Denial of service")
    for kind in (*kinds, "Elevation of privilege"):
        assert f"## {kind}\n\n| Threat | Answer | Test |" in page
