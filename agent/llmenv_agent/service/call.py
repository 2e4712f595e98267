"""Runs launchctl, systemctl and loginctl, and says in one sentence what they refuse."""

from __future__ import annotations

import os
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_agent.errors import ServiceError
from llmenv_agent.facts.tool import SYSTEM_FOLDERS

if TYPE_CHECKING:
    from collections.abc import Callable

CALL_SECONDS = 60.0
POLL_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`said` is the last line of what a failed call printed; `output` is stdout."""

    returncode: int
    output: str
    said: str


def call(*command: str) -> Answer:
    """Run it to its end, whatever that is. Raises ServiceError where it cannot be started or hangs."""
    path = os.pathsep.join(filter(None, [os.environ.get("PATH"), SYSTEM_FOLDERS]))
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
            timeout=CALL_SECONDS,
            check=False,
        )
    except OSError as error:
        raise ServiceError(f"{command[0]} cannot be started: {error.strerror}.") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceError(f"`{' '.join(command)}` did not end within {CALL_SECONDS:.0f} s.") from error
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return Answer(returncode=done.returncode, output=done.stdout, said=lines[-1] if lines else "")


def require(*command: str) -> str:
    """What it prints. Raises ServiceError with its own words where it fails."""
    answer = call(*command)
    if answer.returncode != 0:
        said = answer.said.rstrip(".") or "it said nothing"
        raise ServiceError(f"`{' '.join(command)}` failed with code {answer.returncode}: {said}.")
    return answer.output


def wait_until(condition: Callable[[], bool], *, seconds: float) -> bool:
    """Whether it came true in time; supervisors answer before they are done."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
