"""How much of the machine other programs and people use just now."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from llmenv_agent.facts import hid_idle
from llmenv_agent.facts.tool import read_tools
from llmenv_agent.gpu_use import GpuUse

if TYPE_CHECKING:
    from llmenv_agent.gpu_use import GpuProcess

_LOOK_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Use:
    """`gpu_processes` the busiest first; `user_idle_seconds` is None where it cannot be told."""

    gpu_processes: tuple[GpuProcess, ...] = ()
    cpu_percent: float = 0.0
    user_idle_seconds: float | None = None


def read_use() -> Use:
    """Takes a second. No check of ours may run meanwhile: it would count."""
    gpu = GpuUse()
    gpu.look()
    cpu_percent = psutil.cpu_percent(interval=_LOOK_SECONDS)
    gpu.look_back()
    return Use(
        gpu_processes=tuple(gpu.others()), cpu_percent=cpu_percent, user_idle_seconds=_read_user_idle()
    )


def _read_user_idle() -> float | None:
    if platform.system() != "Darwin":
        return None
    (text,) = read_tools(hid_idle.COMMAND)
    return hid_idle.parse_hid_idle(text)
