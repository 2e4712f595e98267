"""Whether the machine is idle enough for a check, by the [policy] of the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.facts import read_conditions
from llmenv_agent.machine_use import Use, read_use
from llmenv_agent.policy_settings import MEMORY_LEVELS, THERMAL_LEVELS, PolicySettings
from llmenv_agent.verdict import spoken

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv.fleet.v1 import machine_pb2, result_pb2

# An answer holds for the checks that follow closely: a look takes a second.
FRESH_SECONDS = 30.0


class Policy:
    """Looks at the machine when it is asked, though not twice in a moment."""

    def __init__(
        self,
        settings: PolicySettings,
        *,
        read_conditions: Callable[[], machine_pb2.Conditions] = read_conditions,
        read_use: Callable[[], Use] = read_use,
        clocks: Clocks = SYSTEM_CLOCKS,
    ) -> None:
        self._settings = settings
        self._read_conditions = read_conditions
        self._read_use = read_use
        self._clocks = clocks
        self._idle_at: float | None = None

    def objection(self) -> result_pb2.Sentence | None:
        """Why no check may start now; None when one may. May take a second."""
        if not self._settings.only_when_idle or self._was_idle_just_now():
            return None
        sentence = of_conditions(self._settings, self._read_conditions()) or of_use(
            self._settings, self._read_use()
        )
        self._idle_at = None if sentence else self._clocks.elapsed()
        return sentence

    def _was_idle_just_now(self) -> bool:
        return self._idle_at is not None and self._clocks.elapsed() - self._idle_at < FRESH_SECONDS


def of_conditions(settings: PolicySettings, conditions: machine_pb2.Conditions) -> result_pb2.Sentence | None:
    """What the state of the machine has against a check."""
    if conditions.power_source == "battery" and not settings.on_battery:
        return spoken("The machine is on battery.")
    if conditions.low_power_mode and not settings.in_low_power_mode:
        return spoken("The machine is in low-power mode.")
    if _is_above(conditions.thermal_pressure, settings.thermal_pressure, THERMAL_LEVELS):
        return spoken("The machine is hot: thermal pressure is {level}.", level=conditions.thermal_pressure)
    if _is_above(conditions.memory_pressure, settings.memory_pressure, MEMORY_LEVELS):
        return spoken("Memory is short: memory pressure is {level}.", level=conditions.memory_pressure)
    return None


def of_use(settings: PolicySettings, use: Use) -> result_pb2.Sentence | None:
    """What people and other programs have against a check."""
    if use.gpu_processes and use.gpu_processes[0].share * 100 >= settings.gpu_percent:
        busiest = use.gpu_processes[0]
        template = "Another process uses the GPU: {program}, {percent:.0f} % of the time."
        return spoken(template, program=busiest.name, percent=busiest.share * 100)
    if use.cpu_percent >= settings.cpu_percent:
        return spoken("Other processes use {percent:.0f} % of all cores.", percent=use.cpu_percent)
    if use.user_idle_seconds is not None and use.user_idle_seconds < settings.user_idle_seconds:
        return spoken("Somebody used the machine {seconds:.0f} s ago.", seconds=use.user_idle_seconds)
    return None


def _is_above(level: str, bound: str, levels: tuple[str, ...]) -> bool:
    """A level that could not be read is not above anything."""
    return level in levels and levels.index(level) > levels.index(bound)
