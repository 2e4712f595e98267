"""Which other processes use the GPU, and how much of it, from readings some time apart.

Other is a process that this one did not start. One that cannot be looked at is not judged: it has ended, or
its number belongs to another container.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import psutil

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.facts import agx_clients, nvidia_pmon
from llmenv_agent.facts.tool import read_tools

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Below this a process draws a window; nobody trains with so little.
LEAST_SHARE = 0.05


@dataclass(frozen=True, kw_only=True)
class Reading:
    """By process id: GPU seconds so far where the system counts them, else the share just now."""

    seconds: Mapping[int, float] = field(default_factory=dict)
    shares: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GpuProcess:
    """`share` of the GPU's time, from 0 to 1."""

    pid: int
    name: str
    share: float


def read_gpu() -> Reading | None:
    """None where an unprivileged program is not told."""
    if platform.system() == "Darwin":
        (text,) = read_tools(agx_clients.COMMAND)
        seconds = agx_clients.parse_agx_clients(text)
        return None if seconds is None else Reading(seconds=seconds)
    (text,) = read_tools(nvidia_pmon.COMMAND)
    shares = nvidia_pmon.parse_nvidia_pmon(text)
    return None if shares is None else Reading(shares=shares)


class GpuUse:
    """Adds up what the other processes used, from the first look to the last."""

    def __init__(
        self, *, read: Callable[[], Reading | None] = read_gpu, clocks: Clocks = SYSTEM_CLOCKS
    ) -> None:
        self._read = read
        self._clocks = clocks
        self._used: dict[int, float] = {}
        self._whole = 0.0
        self._names: dict[int, str | None] = {}
        self._looked_at = 0.0
        self._last: Reading | None = None

    @property
    def can_be_told(self) -> bool:
        return self._last is not None

    def look(self) -> None:
        """Seconds count from one look to the next, a share for each look at which it is seen."""
        now, reading = self._clocks.awake(), self._read()
        if reading is None:
            return
        if self._last is not None and reading.seconds:
            self._whole += now - self._looked_at
            for pid, seconds in reading.seconds.items():
                self._add(pid, seconds - self._last.seconds.get(pid, 0.0))
        if not reading.seconds:
            self._whole += 1
            for pid, share in reading.shares.items():
                self._add(pid, share)
        self._looked_at, self._last = now, reading

    def look_back(self) -> None:
        """After the end: totals still tell of what went before, a share just now does not."""
        if self._last is not None and self._last.seconds:
            self.look()

    def others(self) -> list[GpuProcess]:
        """Those that really used it, the busiest first."""
        found = [
            GpuProcess(pid=pid, name=name, share=min(1.0, used / max(self._whole, 1e-3)))
            for pid, used in self._used.items()
            if (name := self._names[pid]) is not None and used >= LEAST_SHARE * self._whole
        ]
        return sorted(found, key=lambda process: process.share, reverse=True)

    def _add(self, pid: int, used: float) -> None:
        if used > 0:
            if pid not in self._names:
                self._names[pid] = _name_of_other(pid)
            self._used[pid] = self._used.get(pid, 0.0) + used


def _name_of_other(pid: int) -> str | None:
    """None for a process of ours, and for one that cannot be looked at."""
    try:
        process = psutil.Process(pid)
        if os.getpid() in {pid, *(parent.pid for parent in process.parents())}:
            return None
        return process.name()
    except psutil.Error:
        return None
