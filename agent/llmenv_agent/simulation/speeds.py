"""How fast a virtual Mac is in each workload, run after run: its chip's level, noise, and what is planted."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from llmenv_agent.simulation.noise import SlowPart
from llmenv_agent.simulation.suite import PLAYED

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmenv_agent.simulation.circumstances import Circumstances
    from llmenv_agent.simulation.machines import VirtualMachine
    from llmenv_agent.simulation.plan import Plan

_SHARED = math.sqrt(0.5)
"""Half of the slow part's variance is the machine's, half the workload's own."""


class Speeds:
    """Of one machine; `of_run` is asked once a run, in order."""

    def __init__(self, plan: Plan, machine: VirtualMachine, *, seed: int) -> None:
        self._plan = plan
        self._machine = machine
        self._draw = random.Random(f"{seed}/speeds/{machine.index}")  # noqa: S311 # plays, protects nothing
        self._workloads = {(check.name, each.name): each for check in PLAYED for each in check.workloads}
        self._shared = self._slow_part()
        self._own = {key: self._slow_part() for key in self._workloads}
        offset = self._draw.gauss(0.0, plan.noise.machine_deviation) + self._outlier()
        self._levels = {
            key: math.log(workload.level(machine.model.variant))
            + offset
            + self._draw.gauss(0.0, plan.noise.workload_deviation)
            for key, workload in self._workloads.items()
        }

    def of_run(
        self, day: float, versions: Mapping[str, str], circumstances: Circumstances
    ) -> dict[tuple[str, str], float]:
        """Units of work a second by check and workload, before heat and trials."""
        shared = self._shared.next() + math.log(circumstances.factor()) - circumstances.disturbance
        shared += sum(self._drifts(day))
        speeds = {
            key: level
            + shared
            + self._own[key].next()
            + self._draw.gauss(0.0, self._plan.noise.run_deviation)
            for key, level in self._levels.items()
        }
        for key, logarithm in self._planted(day, versions):
            speeds[key] += logarithm
        return {key: math.exp(speed) for key, speed in speeds.items()}

    def _slow_part(self) -> SlowPart:
        noise = self._plan.noise
        deviation = noise.day_deviation * _SHARED
        return SlowPart(self._draw, deviation=deviation, autocorrelation=noise.day_autocorrelation)

    def _outlier(self) -> float:
        return sum(
            math.log(each.factor) for each in self._plan.outliers if each.machine == self._machine.index
        )

    def _drifts(self, day: float) -> Iterator[float]:
        for drift in self._plan.drifts:
            if drift.machine == self._machine.index and day > drift.from_day:
                yield math.log(1 - min(drift.most_lost, drift.loss_per_day * (day - drift.from_day)))

    def _planted(self, day: float, versions: Mapping[str, str]) -> Iterator[tuple[tuple[str, str], float]]:
        """Logarithms on single workloads."""
        for regression in self._plan.regressions:
            is_here = not regression.chips or self._machine.model.chip in regression.chips
            if is_here and versions[regression.package] in regression.versions:
                yield (regression.check, regression.workload), math.log(regression.factor)
        for step in self._plan.steps:
            if step.machine == self._machine.index and day >= step.day:
                yield (step.check, step.workload), math.log(step.factor)
        for redefinition in self._plan.redefinitions:
            if day >= redefinition.day:
                for key in self._workloads:
                    if key[0] == redefinition.check:
                        yield key, math.log(redefinition.factor)
