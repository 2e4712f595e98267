"""What one source says of a machine, and how several sources become one answer.

Parsers name every field they keep, so serial numbers, hardware identifiers and host names
never get in.  They leave a CPU tier unnamed where the source does not name it; `merge`
names it once the chip is known.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmenv.catalog import chips
from llmenv.fleet.v1 import machine_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

Reading = str | int | float | bool | None | Mapping[str, str] | Mapping[str, float]
"""A figure that is neither a fact nor a condition; its unit is part of its name."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Observed:
    """Facts, conditions and readings; whatever the source does not state is absent."""

    machine: machine_pb2.Machine = dataclasses.field(default_factory=machine_pb2.Machine)
    conditions: machine_pb2.Conditions = dataclasses.field(default_factory=machine_pb2.Conditions)
    readings: Mapping[str, Reading] = dataclasses.field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether anything at all was understood."""
        return bool(self.machine.ByteSize() or self.conditions.ByteSize() or self.readings)


def merge(*parts: Observed) -> Observed:
    """One answer from several sources; where two state the same field, the later one wins."""
    machine, conditions = machine_pb2.Machine(), machine_pb2.Conditions()
    readings: dict[str, Reading] = {}
    for part in parts:
        if part.machine.cpu_tiers:
            machine.ClearField("cpu_tiers")
        machine.MergeFrom(part.machine)
        conditions.MergeFrom(part.conditions)
        readings.update(part.readings)
    _add_implications(machine)
    return Observed(machine=machine, conditions=conditions, readings=readings)


def apple_chip(name: str) -> str:
    """The name if an Apple chip has it; a virtual machine's GPU is an "Apple Paravirtual device"."""
    return name if re.match(r"Apple [AM][0-9]", name) else ""


def unnamed_tiers(counts: Sequence[int | None]) -> list[machine_pb2.CpuTier]:
    """Tiers of these core counts, fastest first, for `merge` to name; none where a count is missing."""
    known = [count for count in counts if count is not None]
    return [machine_pb2.CpuTier(cores=count) for count in known if count] if len(known) == len(counts) else []


def _add_implications(machine: machine_pb2.Machine) -> None:
    """Add what the chip's name, the model and the architecture say together."""
    is_arm_mac = machine.os_name == "macOS" and machine.architecture == "arm64"
    machine.is_apple_silicon |= bool(apple_chip(machine.chip)) or is_arm_mac
    machine.is_virtual |= "(Virtual)" in machine.chip or machine.model_identifier.startswith("VirtualMac")
    names = chips.tier_names(machine.chip)
    for index, tier in enumerate(machine.cpu_tiers):
        if not tier.name:
            tier.name = names[index] if len(names) == len(machine.cpu_tiers) else f"Level {index}"
