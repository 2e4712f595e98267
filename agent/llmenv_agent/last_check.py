"""The check that began last, and under which start of the system: for the agent after a panic.

It is on the disk before the check's process starts. It says nothing of whether the check ended; the spool's
journal does.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from llmenv_agent import state_file
from llmenv_agent.quarantine import Subject

if TYPE_CHECKING:
    from pathlib import Path

FILE_NAME = "last-check.json"


@dataclass(frozen=True, kw_only=True)
class LastCheck:
    """`boot_id` is "" where the system has none."""

    result_id: str
    boot_id: str
    subject: Subject


def write_last_check(path: Path, last: LastCheck) -> None:
    """Raises StateError."""
    state_file.write(path, json.dumps(asdict(last)))


def read_last_check(path: Path) -> LastCheck | None:
    """None where there is none, or half of one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return LastCheck(**{**content, "subject": Subject(**content["subject"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
