"""What runs for the person at the machine: one run at a time a machine, and ended by Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from typing import TYPE_CHECKING

from llmenv_agent.errors import UsageError
from llmenv_agent.leftover import end_leftover
from llmenv_agent.run_lock import Holder, LockCancelledError, run_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Apart from the daemon's, which may belong to an agent that waits for the run lock.
LEFTOVER_NAME = "local-check.json"


class InterruptedByPersonError(Exception):
    """Ctrl-C or SIGTERM ended it; there is nothing to show."""


@contextlib.contextmanager
def foreground(purpose: str, *, leftover_file: Path) -> Iterator[threading.Event]:
    """Hold the machine's run lock, saying who has it while it is waited for.

    Gives the event that Ctrl-C and SIGTERM set. Ends the check that a killed predecessor left running.
    Raises InterruptedByPersonError in place of whatever an interrupt led to.
    """
    cancelled = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: cancelled.set())
    try:
        with run_lock(purpose, on_wait=_say_who_runs, cancelled=cancelled):
            with contextlib.suppress(OSError):  # without the note a check runs all the same
                leftover_file.parent.mkdir(parents=True, exist_ok=True)
            end_leftover(leftover_file)
            yield cancelled
    except LockCancelledError:
        raise InterruptedByPersonError from None
    except UsageError:
        if cancelled.is_set():  # Ctrl-C reached the inventory's process too
            raise InterruptedByPersonError from None
        raise


def say(text: str, end: str = "\n") -> None:
    """A line for the person, on stderr."""
    sys.stderr.write(text + end)
    sys.stderr.flush()


def _say_who_runs(holder: Holder) -> None:
    say(f"waits for pid {holder.pid} ({holder.purpose or 'another run'})")
