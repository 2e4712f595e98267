"""`mlx.core.device_info()`, printed as JSON or as a Python dict, whole or in part.

On a Mac the architecture is the GPU's ("applegpu_g15d"), on Linux the processor's.
"""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.observed import Observed, Reading
from llmenv_agent.facts.quantities import whole

ENTRY = re.compile(r"""(['"])(?P<key>\w+)\1\s*:\s*(?:(?P<number>[0-9]+)|(['"])(?P<text>[^'"\n]*)\4)""")
LIMITS = {"max_buffer_length": "largest_buffer_bytes", "resource_limit": "gpu_resource_limit"}


def parse_mlx_device_info(text: str) -> Observed:
    """Chip, memory and the recommended working set as the system states it."""
    entries: dict[str, str] = {}
    for found in ENTRY.finditer(text):
        entries.setdefault(found["key"], found["number"] or found["text"] or "")
    architecture = entries.get("architecture", "")
    is_metal = architecture.startswith("applegpu")
    machine = machine_pb2.Machine(
        chip=entries.get("device_name", ""),
        memory_bytes=whole(entries.get("memory_size")),
        architecture="" if is_metal else architecture,
        recommended_working_set_bytes=whole(entries.get("max_recommended_working_set_size")),
        is_apple_silicon=is_metal,
    )
    readings: dict[str, Reading] = {
        name: whole(entries[key]) for key, name in LIMITS.items() if key in entries
    }
    if is_metal:
        readings["gpu_architecture"] = architecture
    return Observed(machine=machine, readings=readings)
