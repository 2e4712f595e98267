"""Ends an agent that takes too much of the machine, or does not go on, so that it is started again.

It looks from a thread of its own that waits for nobody: what it asks of the event loop it does not wait for,
and it writes its log line from yet another thread.  First the agent is asked to end in order; when that takes
too long, its process ends at once.  Nothing is lost by that: whatever was recorded is on the disk, and the
next agent gives a verdict to the check that was running.

It counts its own looks, not time, so that an agent that was paused, or slept, is not taken for a stuck one.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import logging
import os
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from llmenv_agent.watchdog_settings import WatchdogSettings

log = logging.getLogger(__name__)

LOOK_EVERY_SECONDS = 10.0
# An end in order takes under five.
_END_WITHIN_SECONDS = 10.0
_LOG_WITHIN_SECONDS = 2.0
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Of this process: resident bytes, and CPU seconds since it began."""

    memory_bytes: int
    cpu_seconds: float


def read_usage() -> Usage:
    return Usage(memory_bytes=_this_process().memory_info().rss, cpu_seconds=time.process_time())


@functools.cache
def _this_process() -> psutil.Process:
    return psutil.Process()


class Watchdog:
    """`overdue_seconds` is how long ago the running check should have ended; `end` is called in the loop."""

    def __init__(
        self,
        settings: WatchdogSettings,
        *,
        loop: asyncio.AbstractEventLoop,
        overdue_seconds: Callable[[], float],
        end: Callable[[str], None],
        read_usage: Callable[[], Usage] = read_usage,
        clocks: Clocks = SYSTEM_CLOCKS,
        look_every_seconds: float = LOOK_EVERY_SECONDS,
    ) -> None:
        self.settings = settings
        self._loop = loop
        self._overdue_seconds = overdue_seconds
        self._end = end
        self._read_usage = read_usage
        self._clocks = clocks
        self._look_every_seconds = look_every_seconds
        self._stopped = threading.Event()
        self._answered = threading.Event()
        self._answered.set()
        self._unanswered = self._overdue = 0
        self._spent: collections.deque[tuple[float, float]] = collections.deque()

    def start(self) -> None:
        threading.Thread(target=self._keep_looking, name="llmenv-watchdog", daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def trouble(self) -> str | None:
        """Look once: one sentence about what is past its bound, if something is."""
        usage = self._read_usage()
        return self._of_memory(usage) or self._of_cpu(usage) or self._of_loop() or self._of_check()

    def _keep_looking(self) -> None:
        while not self._stopped.wait(self._look_every_seconds):
            if (sentence := self.trouble()) is not None:
                self._bring_to_an_end(sentence)
                return

    def _bring_to_an_end(self, sentence: str) -> None:
        said = threading.Thread(target=log.critical, args=("%s", sentence), daemon=True)
        said.start()
        said.join(_LOG_WITHIN_SECONDS)
        self._ask_loop(lambda: self._end(sentence))
        if not self._stopped.wait(_END_WITHIN_SECONDS):
            os._exit(ExitCode.WATCHDOG)

    def _of_memory(self, usage: Usage) -> str | None:
        used = usage.memory_bytes / _MIB
        if used <= self.settings.memory_mib:
            return None
        return (
            f"The agent has {used:.0f} MiB resident, more than {self.settings.memory_mib:g}; it ends itself."
        )

    def _of_cpu(self, usage: Usage) -> str | None:
        now = self._clocks.awake()
        self._spent.append((now, usage.cpu_seconds))
        window = self.settings.cpu_window_seconds
        while len(self._spent) > 1 and now - self._spent[1][0] >= window:
            self._spent.popleft()
        began, spent = self._spent[0]
        if now - began < window:
            return None
        percent = 100 * (usage.cpu_seconds - spent) / (now - began)
        if percent <= self.settings.cpu_percent:
            return None
        return (
            f"The agent used {percent:.0f} % of a core for {now - began:.0f} s, "
            f"more than {self.settings.cpu_percent:g} %; it ends itself."
        )

    def _of_loop(self) -> str | None:
        if self._answered.is_set():
            self._unanswered = 0
            self._answered.clear()
            self._ask_loop(self._answered.set)
            return None
        self._unanswered += 1
        silent = self._unanswered * self._look_every_seconds
        if silent < self.settings.stuck_after_seconds:
            return None
        return f"The agent's event loop has not answered for {silent:.0f} s; it ends itself."

    def _of_check(self) -> str | None:
        self._overdue = self._overdue + 1 if self._overdue_seconds() > 0 else 0
        overdue = self._overdue * self._look_every_seconds
        if overdue < self.settings.stuck_after_seconds:
            return None
        return f"A check should have been ended {overdue:.0f} s ago; the agent ends itself."

    def _ask_loop(self, question: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has closed: the agent is ending
            self._loop.call_soon_threadsafe(question)
