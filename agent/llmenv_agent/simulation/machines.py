"""Virtual Macs: chips of the catalogue in the models that carry them, in cohorts of about equal size."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.catalog import chips
from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.simulation.ids import seeded_id

if TYPE_CHECKING:
    import datetime as dt

    from llmenv.catalog.chips import ChipVariant

    from llmenv_agent.simulation.packages import System

GIGABYTE = 1 << 30
COHORT = 10
"""Machines of one chip variant, about."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A Mac that a lab buys: chip with its GPU cores, memory, and what it is called."""

    chip: str
    gpu_cores: int
    memory_gb: int
    identifier: str
    name: str

    @property
    def is_portable(self) -> bool:
        return "MacBook" in self.name

    @property
    def variant(self) -> ChipVariant:
        """The first with these GPU cores: bins that differ in CPU cores alone are one here."""
        return next(each for each in chips.variants(self.chip) if each.gpu_cores == self.gpu_cores)


def _model(chip: str, gpu_cores: int, memory_gb: int, identifier: str, name: str) -> Model:
    return Model(
        chip=f"Apple {chip}",
        gpu_cores=gpu_cores,
        memory_gb=memory_gb,
        identifier=identifier,
        name=name,
    )


MODELS = (
    _model("M2 Ultra", 60, 64, "Mac14,14", "Mac Studio"),
    _model("M3 Max", 40, 128, "Mac15,9", "MacBook Pro"),
    _model("M1 Pro", 16, 32, "MacBookPro18,3", "MacBook Pro"),
    _model("M4 Pro", 20, 48, "Mac16,11", "Mac mini"),
    _model("M2", 10, 16, "Mac14,2", "MacBook Air"),
    _model("M2 Max", 38, 96, "Mac14,13", "Mac Studio"),
    _model("M3 Ultra", 80, 512, "Mac15,14", "Mac Studio"),
    _model("M1", 8, 8, "MacBookAir10,1", "MacBook Air"),
    _model("M4 Max", 40, 128, "Mac16,5", "MacBook Pro"),
    _model("M1 Max", 32, 64, "Mac13,1", "Mac Studio"),
    _model("M3", 10, 16, "Mac15,12", "MacBook Air"),
    _model("M4", 10, 24, "Mac16,10", "Mac mini"),
    _model("M1 Pro", 14, 16, "MacBookPro18,3", "MacBook Pro"),
    _model("M2 Pro", 19, 32, "Mac14,12", "Mac mini"),
    _model("M5 Max", 40, 128, "Mac17,6", "MacBook Pro"),
    _model("M1 Ultra", 48, 64, "Mac13,2", "Mac Studio"),
    _model("M3 Pro", 18, 36, "Mac15,6", "MacBook Pro"),
    _model("M2 Max", 30, 32, "Mac14,5", "MacBook Pro"),
    _model("M2 Ultra", 76, 192, "Mac14,14", "Mac Studio"),
    _model("M1 Max", 24, 32, "MacBookPro18,2", "MacBook Pro"),
)


@dataclass(frozen=True, kw_only=True)
class VirtualMachine:
    """`index` counts from 0; `id` is what the history says until a collector issues another."""

    index: int
    id: str
    hostname: str
    model: Model

    @property
    def memory_bytes(self) -> int:
        return self.model.memory_gb * GIGABYTE

    def facts(self, system: System) -> machine_pb2.Machine:
        """As the agent would read them under that system, without an id."""
        variant = self.model.variant
        return machine_pb2.Machine(
            hostname=self.hostname,
            chip=self.model.chip,
            model_identifier=self.model.identifier,
            model_name=self.model.name,
            gpu_cores=self.model.gpu_cores,
            cpu_tiers=[machine_pb2.CpuTier(name=name, cores=cores) for name, cores in variant.cpu_tiers],
            memory_bytes=self.memory_bytes,
            os_name="macOS",
            os_version=system.version,
            os_build=system.build,
            kernel_version=system.kernel,
            architecture="arm64",
            accelerator="Metal 4",
            is_apple_silicon=True,
        )


def draw_machines(seed: int, count: int, *, enrolled_at: dt.datetime) -> tuple[VirtualMachine, ...]:
    """`count` machines: as many models as give cohorts of about COHORT, dealt out in turn."""
    models = MODELS[: min(len(MODELS), max(1, round(count / COHORT)))]
    return tuple(
        _machine(seed, index, models[index % len(models)], enrolled_at=enrolled_at) for index in range(count)
    )


def _machine(seed: int, index: int, model: Model, *, enrolled_at: dt.datetime) -> VirtualMachine:
    own = random.Random(f"{seed}/machine/{index}")  # noqa: S311 # plays, protects nothing
    kind = model.name.lower().replace(" ", "-").replace("mac-studio", "studio").replace("macbook-", "")
    return VirtualMachine(
        index=index,
        id=seeded_id(own, enrolled_at),
        hostname=f"{kind}-{index + 1:03d}",
        model=model,
    )
