"""What of a machine's memory a plan is compared with, by the device that the plan is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.memory import Device
from llmenv.catalog.memory_advice import Limit

if TYPE_CHECKING:
    from llmenv.fleet.v1.machine_pb2 import Machine


def limit_of(machine: Machine, device: Device) -> Limit:
    """As read: on MPS the working set that the system recommends, on the CPU the memory alone, which can only
    rule out.  Of an NVIDIA GPU's memory the agent reads nothing.
    """
    memory = machine.memory_bytes if machine.HasField("memory_bytes") and device is not Device.CUDA else None
    has_set = device is Device.MPS and machine.HasField("recommended_working_set_bytes")
    return Limit(usable=machine.recommended_working_set_bytes if has_set else None, memory=memory)


def limit_words(limit: Limit, device: Device) -> str:
    """The ending of the key of the texts that say what is compared with; "" where it may be used whole."""
    if limit.usable is not None:
        return ""
    if device is Device.CUDA:
        return "_cuda"
    if limit.memory is None:
        return "_nothing"
    return "_unknown" if device is Device.MPS else "_cpu"
