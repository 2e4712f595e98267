"""What the agent tells a check of the machine it runs on: the keys of `probe/machine.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.catalog import chips

if TYPE_CHECKING:
    from llmenv.fleet.v1 import machine_pb2


def machine_limits(machine: machine_pb2.Machine, conditions: machine_pb2.Conditions) -> dict[str, Any]:
    """Facts as they were read, with the figures that the catalogue has for this variant of the chip."""
    limits: dict[str, Any] = {
        "chip": machine.chip,
        "is_virtual": machine.is_virtual,
        "is_apple_silicon": machine.is_apple_silicon,
        "gpu_cores": _read(machine, "gpu_cores"),
        "memory_bytes": _read(machine, "memory_bytes"),
        "working_set_bytes": _read(machine, "recommended_working_set_bytes"),
        "available_bytes": _read(conditions, "available_memory_bytes"),
    }
    if limits["gpu_cores"] is not None:
        cpu_cores = sum(tier.cores for tier in machine.cpu_tiers)
        variant = chips.find(machine.chip, limits["gpu_cores"], cpu_cores=cpu_cores or None)
        if variant is not None:
            limits["bandwidth_gb_per_s"] = variant.bandwidth_gb_per_s
            limits["fp32_tflops"] = variant.fp32_tflops_computed
    return limits


def _read(message: machine_pb2.Machine | machine_pb2.Conditions, field: str) -> int | None:
    return getattr(message, field) if message.HasField(field) else None  # type: ignore[arg-type]  # a field's name
