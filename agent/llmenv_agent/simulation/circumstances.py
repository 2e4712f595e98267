"""The state that a virtual Mac is in during one run: power, heat, and who else uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.simulation import noise

if TYPE_CHECKING:
    import random

    from llmenv_agent.simulation.effects import Throttling
    from llmenv_agent.simulation.machines import VirtualMachine
    from llmenv_agent.simulation.plan import Plan

SAVING_FACTOR = 0.75
"""Speed in low-power mode; assumed."""
_MODERATE_LOSS, _HEAVY_LOSS = 0.03, 0.12
_DAYS_BETWEEN_RESTARTS = 30.0


@dataclass(frozen=True, kw_only=True)
class Circumstances:
    """`heat_loss` is the share of speed lost by the end of a check's trials."""

    on_battery: bool = False
    is_saving: bool = False
    heat_loss: float = 0.0
    disturbance: float = 0.0
    """Logarithm of speed that is lost to somebody's use of the machine."""

    def factor(self) -> float:
        return SAVING_FACTOR if self.is_saving else 1.0

    def thermal_pressure(self) -> str:
        if self.heat_loss < _MODERATE_LOSS:
            return "nominal"
        return "moderate" if self.heat_loss < _HEAVY_LOSS else "heavy"

    def conditions(
        self, machine: VirtualMachine, *, day: float, is_warm: bool, draw: random.Random
    ) -> machine_pb2.Conditions:
        """As an agent would read them; `is_warm` once checks have run."""
        return machine_pb2.Conditions(
            power_source="battery" if self.on_battery else "ac",
            low_power_mode=self.is_saving,
            thermal_pressure=self.thermal_pressure() if is_warm else "nominal",
            memory_pressure="normal",
            available_memory_bytes=int(machine.memory_bytes * draw.uniform(0.45, 0.6)),
            swap_used_bytes=0,
            load_1m=round(draw.uniform(0.8, 2.4) + 20 * self.disturbance, 2),
            uptime_seconds=round(((day + 3 * machine.index) % _DAYS_BETWEEN_RESTARTS) * 86_400.0 + 600, 1),
            session_type=machine_pb2.SESSION_TYPE_DAEMON,
            free_disk_bytes=180_000_000_000 - int(day) * 10_000_000,
            other_gpu_processes=0,
        )


def draw_circumstances(
    plan: Plan, machine: VirtualMachine, throttling: Throttling | None, draw: random.Random
) -> Circumstances:
    """Of one run."""
    is_portable = machine.model.is_portable
    on_battery = is_portable and draw.random() < plan.battery_share
    is_hot = draw.random() < noise.hot_share_of(plan.noise, is_portable=is_portable)
    loss = noise.heat_loss(plan.noise, draw) if is_hot else 0.0
    if throttling is not None and draw.random() < throttling.share:
        loss = throttling.loss
    return Circumstances(
        on_battery=on_battery,
        is_saving=on_battery and draw.random() < 0.5,
        heat_loss=loss,
        disturbance=noise.disturbance(plan.noise, draw),
    )
