"""What a fleet's history shall hold: nothing but noise, effects by name, or a typical mixture by the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass

from llmenv_agent.simulation.effects import (
    Drift,
    Failing,
    Flaky,
    Outlier,
    Redefinition,
    Regression,
    Silence,
    Step,
    Throttling,
)
from llmenv_agent.simulation.noise import Noise

FITTED = Noise()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Without arguments a fleet in which machines are upgraded and nothing else ever changes."""

    noise: Noise = FITTED
    upgrades: bool = True
    """Whether packages and macOS change at all."""
    battery_share: float = 0.04
    """Runs of portable machines that are on battery; half of them saving energy, a quarter slower."""
    withheld_share: float = 0.003
    """Results without measurements, since another process used the GPU."""
    absent_share: float = 0.05
    """Runs that do not take place, since the machine is off or away."""
    regressions: tuple[Regression, ...] = ()
    outliers: tuple[Outlier, ...] = ()
    steps: tuple[Step, ...] = ()
    drifts: tuple[Drift, ...] = ()
    throttling: tuple[Throttling, ...] = ()
    flaky: tuple[Flaky, ...] = ()
    failing: tuple[Failing, ...] = ()
    silences: tuple[Silence, ...] = ()
    redefinitions: tuple[Redefinition, ...] = ()


def typical_plan(seed: int, *, machines: int, days: int) -> Plan:
    """A lab's year: two regressions, one improvement, and about one machine in ten with trouble."""
    own = random.Random(f"{seed}/plan")  # noqa: S311 # plays, protects nothing
    troubled = iter(own.sample(range(machines), k=min(machines, 6 * _each(machines))))

    def some() -> list[int]:
        return [index for _, index in zip(range(_each(machines)), troubled, strict=False)]

    return Plan(
        regressions=(
            _regression("torch", ("2.11.0", "2.12.0"), "bench_lora", "step", own.uniform(0.90, 0.94)),
            _regression("transformers", ("5.4.0",), "bench_generation", "decode", own.uniform(0.91, 0.95)),
            _regression("mlx", ("0.32.4",), "mlx_native", "training", own.uniform(1.06, 1.12)),
        ),
        outliers=tuple(Outlier(machine=each, factor=own.uniform(0.86, 0.92)) for each in some()),
        steps=tuple(
            Step(
                machine=each,
                day=own.uniform(0.4, 0.7) * days,
                check="bench_memory_bandwidth",
                workload="copy",
                factor=own.uniform(0.86, 0.92),
            )
            for each in some()
        ),
        drifts=tuple(
            Drift(machine=each, from_day=own.uniform(0.2, 0.5) * days, loss_per_day=0.25 / days)
            for each in some()
        ),
        throttling=tuple(Throttling(machine=each, share=0.5, loss=0.18) for each in some()),
        flaky=tuple(
            Flaky(machine=each, check="peft_lora", requirement="adapter_reloads", share=0.2)
            for each in some()
        ),
        failing=(
            Failing(
                package="torch",
                versions=("2.10.0",),
                check="torch_basics",
                requirement="matmul_float32",
                chips=("Apple M1 Pro", "Apple M2 Ultra"),
                remedy_id="KI039",
            ),
        ),
        silences=tuple(Silence(machine=each, from_day=own.uniform(0.7, 0.95) * days) for each in some()),
        redefinitions=(Redefinition(check="torch_training", day=0.55 * days, factor=1.2),),
    )


def _each(machines: int) -> int:
    """How many machines have each trouble."""
    return max(1, round(machines / 60))


def _regression(
    package: str, versions: tuple[str, ...], check: str, workload: str, factor: float
) -> Regression:
    return Regression(package=package, versions=versions, check=check, workload=workload, factor=factor)
