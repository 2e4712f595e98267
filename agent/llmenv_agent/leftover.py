"""What a dead agent left running: its check's process group and its folder.

While a check runs, a small file names its process and its folder.  An agent
that starts ends that group, after it has made sure that the number still
belongs to that process: a recycled number is never touched.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER_PREFIX = "llmenv-check-"
# Start times come from a clock that may be set in between; the folder in the
# command line, which is unique, decides.
_START_TOLERANCE_SECONDS = 60.0


@contextlib.contextmanager
def noted(path: Path | None) -> Iterator[Note]:
    """A note at `path` for as long as the block runs; nothing is written where `path` is None."""
    note = Note(path)
    try:
        yield note
    finally:
        note.clear()


class Note:
    """Names the process that runs now."""

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def write(self, pid: int, folder: Path) -> None:
        if self._path is None:
            return
        # It may have ended already; and a full or read-only disk costs the note, not the check.
        with contextlib.suppress(psutil.NoSuchProcess, OSError):
            note = {
                "pid": pid,
                "started": psutil.Process(pid).create_time(),
                "folder": str(folder),
                "agent": os.getpid(),
                "agent_started": psutil.Process().create_time(),
            }
            part = self._path.with_name(self._path.name + ".part")
            part.write_text(json.dumps(note))
            part.replace(self._path)

    def clear(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def end_leftover(path: Path) -> bool:
    """End the group that the note at `path` names, remove its folder and the note; True if one was ended.

    Nothing of an agent that still lives.
    """
    try:
        note = json.loads(path.read_text())
        pid, started, folder = int(note["pid"]), float(note["started"]), Path(note["folder"])
        agent, agent_started = int(note.get("agent", 0)), float(note.get("agent_started", 0))
    except OSError:
        return False
    except (ValueError, KeyError, TypeError, AttributeError):  # half a note from a full disk names nobody
        path.unlink(missing_ok=True)
        return False
    if _lives_elsewhere(agent, started=agent_started):
        return False
    ended = _is_ours(pid, started=started, folder=folder)
    if ended:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    if folder.name.startswith(FOLDER_PREFIX):
        shutil.rmtree(folder, ignore_errors=True)
    path.unlink(missing_ok=True)
    return ended


def _lives_elsewhere(agent: int, *, started: float) -> bool:
    """Whether the agent that wrote the note still runs: with the same state folder and another run lock."""
    try:
        process = psutil.Process(agent) if agent not in {0, os.getpid()} else None
        if process is None or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return abs(process.create_time() - started) < _START_TOLERANCE_SECONDS
    except (psutil.NoSuchProcess, psutil.AccessDenied, ValueError):
        return False


def _is_ours(pid: int, *, started: float, folder: Path) -> bool:
    try:
        process = psutil.Process(pid)
        near = abs(process.create_time() - started) < _START_TOLERANCE_SECONDS
        named = any(part.startswith(str(folder)) for part in process.cmdline())
        return near and named and os.getpgid(pid) == pid
    except (psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
        return False
