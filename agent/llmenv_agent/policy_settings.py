"""[policy] of the configuration: when the machine is idle enough for checks.

    [policy]
    only_when_idle = true          # false: suites start when they are due, whatever goes on
    on_battery = false             # whether checks may start on battery
    in_low_power_mode = true       # ... in low-power mode: who sets it for good would never see a run
    thermal_pressure = "nominal"   # the highest they may start at: nominal, moderate, heavy
    memory_pressure = "normal"     # the highest they may start at: normal, warn, critical
    gpu_percent = 10               # of the GPU's time: from here on another process is in the way
    cpu_percent = 50               # of all cores: from here on other processes are in the way
    user_idle = "0s"               # how long nobody may have touched the keyboard or the mouse

It holds for what the schedule starts and for commands that do not say otherwise, before each check. What
cannot be read holds nobody up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv_agent.toml_document import Document

THERMAL_LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
MEMORY_LEVELS = ("normal", "warn", "critical")


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """What may be while a check starts."""

    only_when_idle: bool = True
    on_battery: bool = False
    in_low_power_mode: bool = True
    thermal_pressure: str = "nominal"
    memory_pressure: str = "normal"
    gpu_percent: float = 10.0
    cpu_percent: float = 50.0
    user_idle_seconds: float = 0.0


def parse_policy(document: Document, content: Mapping[str, Any]) -> PolicySettings:
    """Raises UsageError with file and line."""
    table, default = document.table(content, "policy"), PolicySettings()
    known = {*vars(default), "user_idle"} - {"user_idle_seconds"}
    document.allow(table, ("policy",), known)

    def flag(name: str) -> bool:
        return document.flag(table, ("policy", name), default=getattr(default, name))

    def percent(name: str) -> float:
        return document.number(table, ("policy", name), default=getattr(default, name), highest=100)

    return PolicySettings(
        only_when_idle=flag("only_when_idle"),
        on_battery=flag("on_battery"),
        in_low_power_mode=flag("in_low_power_mode"),
        gpu_percent=percent("gpu_percent"),
        cpu_percent=percent("cpu_percent"),
        thermal_pressure=document.one_of(table, ("policy", "thermal_pressure"), THERMAL_LEVELS[:3])
        or default.thermal_pressure,
        memory_pressure=document.one_of(table, ("policy", "memory_pressure"), MEMORY_LEVELS)
        or default.memory_pressure,
        user_idle_seconds=document.duration(table, ("policy", "user_idle"), default=0.0),
    )
