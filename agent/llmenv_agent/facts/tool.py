"""Runs the small programs that macOS and Linux answer questions with."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SYSTEM_FOLDERS = "/usr/sbin:/usr/bin:/sbin:/bin"
"""Appended to PATH: a daemon's PATH may lack /usr/sbin, where sysctl and ioreg are."""


def read_tools(*commands: Sequence[str], timeout_seconds: float = 5.0) -> list[str]:
    """What each command prints, all run at once; "" for one that is absent or too slow."""
    with ThreadPoolExecutor(len(commands)) as pool:
        return list(pool.map(lambda command: _read_tool(command, timeout_seconds=timeout_seconds), commands))


def _read_tool(command: Sequence[str], *, timeout_seconds: float) -> str:
    """The exit status is not asked: sysctl prints what it has before it complains of an unknown key."""
    path = os.pathsep.join(filter(None, [os.environ.get("PATH"), SYSTEM_FOLDERS]))
    try:
        return subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            errors="replace",
            env={**os.environ, "PATH": path, "LC_ALL": "C"},
            timeout=timeout_seconds,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
