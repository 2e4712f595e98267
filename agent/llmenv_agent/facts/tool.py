"""Runs the small programs that macOS and Linux answer questions with."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM_FOLDERS = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Appended to PATH: a daemon's PATH may lack /usr/sbin, where sysctl and ioreg are."""


def read_tools(*commands: Sequence[str], timeout_seconds: float = 5.0) -> list[str]:
    """What each command prints, all started at once; "" for one that is absent or too slow.

    The exit status is not asked: sysctl prints what it has before it complains of an unknown key.
    """
    deadline = time.monotonic() + timeout_seconds
    started = [_start(command) for command in commands]
    return [_finish(process, deadline=deadline) for process in started]


def _start(command: Sequence[str]) -> subprocess.Popen[str] | None:
    path = os.pathsep.join(filter(None, [os.environ.get("PATH"), SYSTEM_FOLDERS]))
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
        )
    except OSError:
        return None


def _finish(process: subprocess.Popen[str] | None, *, deadline: float) -> str:
    if process is None:
        return ""
    with process:
        try:
            return process.communicate(timeout=max(0.0, deadline - time.monotonic()))[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return ""
