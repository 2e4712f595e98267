"""Ends the check's process group when the agent is gone, also by kill -9.

The agent holds the write end of a pipe whose read end is this process's
standard input; the end of that pipe means that the agent has ended.
"""

from __future__ import annotations

import os
import signal
import threading


def start() -> None:
    """Watch standard input from a daemon thread; the check itself then reads an empty one."""
    pipe = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    threading.Thread(target=_watch, args=(pipe,), name="llmenv-parent-watch", daemon=True).start()


def _watch(pipe: int) -> None:
    while os.read(pipe, 4096):
        pass
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpgrp(), signal.SIGKILL)
    os.kill(os.getpid(), signal.SIGKILL)
