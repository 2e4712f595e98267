"""What a check times and notes, as data: its workloads with their figures, its constants, what it says.

A workload has one speed; every figure of it follows from that, as in the real check. Speeds are those of an
M2 Ultra with 60 GPU cores, from the figures of the reference report where it has them and assumed elsewhere;
other chips follow by the powers of their GPU rate and their memory bandwidth.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import result_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv.catalog.chips import ChipVariant

# Of the anchor: GPU cores times clock in MHz, and GB/s.
_ANCHOR_RATE, _ANCHOR_BANDWIDTH = 60 * 1398.0, 800.0
_ASSUMED_CLOCK_MHZ = 1500.0  # of chips whose clock nobody states
HIGHER, LOWER, NEITHER = (
    result_pb2.DIRECTION_HIGHER_IS_BETTER,
    result_pb2.DIRECTION_LOWER_IS_BETTER,
    result_pb2.DIRECTION_UNSPECIFIED,
)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measurement that follows from a workload's speed: `work` times it, or `work` over it for seconds."""

    name: str
    unit: str
    work: float = 1.0
    has_trials: bool = True
    share_of: str = ""
    """"bandwidth" or "compute": the value is a share of that limit of the chip."""

    @property
    def is_duration(self) -> bool:
        return self.unit == "s"

    def value(self, speed: float, variant: ChipVariant) -> float | None:
        """None where the chip's limit is not known."""
        if self.is_duration:
            return self.work / speed
        limit = self._limit(variant)
        return None if limit is None else self.work * speed / limit

    def _limit(self, variant: ChipVariant) -> float | None:
        if self.share_of == "bandwidth":
            return variant.bandwidth_gb_per_s
        return variant.fp32_tflops_computed if self.share_of == "compute" else 1.0

    def ratio(self, factor: float) -> float:
        """What the value is multiplied by when the speed is multiplied by `factor`."""
        return 1 / factor if self.is_duration else factor

    @property
    def direction(self) -> result_pb2.Direction.ValueType:
        return LOWER if self.is_duration else HIGHER


@dataclass(frozen=True, kw_only=True)
class Workload:
    """`speed` in units of work a second on the anchor; `package` is the one whose version may change it."""

    name: str
    speed: float
    compute: float
    """Power of the GPU's rate."""
    bandwidth: float
    """Power of the memory's bandwidth."""
    package: str
    figures: tuple[Figure, ...]
    trials: int = 0
    warmups: int = 0
    case: str = ""

    def level(self, variant: ChipVariant) -> float:
        """Its speed on a chip, without noise."""
        rate = variant.gpu_cores * (variant.gpu_clock_mhz or _ASSUMED_CLOCK_MHZ) / _ANCHOR_RATE
        share = variant.bandwidth_gb_per_s / _ANCHOR_BANDWIDTH
        level: float = self.speed * rate**self.compute * share**self.bandwidth
        return level


@dataclass(frozen=True, kw_only=True)
class Constant:
    """A measurement without noise: a count, or an error or a loss, which the chip decides."""

    name: str
    unit: str
    value: float
    direction: result_pb2.Direction.ValueType = NEITHER
    varies_by: float = 0.0
    """Relative, from chip to chip."""
    case: str = ""

    def on(self, variant: ChipVariant) -> float:
        """The value on that chip, always the same."""
        if not self.varies_by:
            return self.value
        place = f"{self.name}/{self.case}/{variant.chip}/{variant.gpu_cores}"
        digest = hashlib.sha256(place.encode()).digest()
        return self.value * (1 + self.varies_by * (2 * digest[0] / 255 - 1))


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """An expectation; `observed_of` names the constant that is observed, "" for `observed` as it stands."""

    name: str
    expected: str
    observed: str = ""
    observed_of: str = ""
    failed: str = "0"
    """What is observed where it is not met."""
    source: str = ""


@dataclass(frozen=True)
class VersionOf:
    """The version of a package, as the environment has it at that time."""

    package: str


@dataclass(frozen=True)
class ValueOf:
    """A measurement of the same check or case, times `scale`."""

    measurement: str
    scale: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Words:
    """A reason as a template with formats, and where its values come from."""

    template: str
    values: Mapping[str, str | VersionOf | ValueOf] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CaseRow:
    """A row of a table-driven check."""

    name: str
    words: Words
    parameters: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, str | float | bool] = field(default_factory=dict)
    seconds: float = 1.0


@dataclass(frozen=True, kw_only=True)
class PlayedCheck:
    """A real check as the simulation plays it."""

    name: str
    words: Words
    status: result_pb2.Status.ValueType = result_pb2.STATUS_PASS
    remedy_id: str = ""
    workloads: tuple[Workload, ...] = ()
    constants: tuple[Constant, ...] = ()
    requirements: tuple[Requirement, ...] = ()
    facts: Mapping[str, str | float | bool] = field(default_factory=dict)
    cases: tuple[CaseRow, ...] = ()
    import_seconds: float = 1.8
    run_seconds: float = 3.0
    process_bytes: float = 5e8
    accelerator_bytes: float = 0.0
    log: str = ""

    def workload(self, name: str) -> Workload:
        """Raises KeyError where there is none of that name."""
        return {each.name: each for each in self.workloads}[name]

    def requirement(self, name: str) -> Requirement:
        """Raises KeyError where there is none of that name."""
        return {each.name: each for each in self.requirements}[name]
