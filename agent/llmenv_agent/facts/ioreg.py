"""`ioreg`: GPU cores and GPU memory in use, the product's name, the CPU's core counts.

It is asked because system_profiler, which knows the same, is much slower.
"""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.observed import Observed, Reading, apple_chip
from llmenv_agent.facts.quantities import hexadecimal_data, whole

GPU_COMMAND = ("ioreg", "-r", "-d", "1", "-w", "0", "-c", "IOAccelerator")
PRODUCT_COMMAND = ("ioreg", "-r", "-d", "1", "-w", "0", "-p", "IODeviceTree", "-n", "product")
# Quotes matter: "In use system memory (driver)" precedes "In use system memory".
STATISTICS = {
    "Device Utilization %": "gpu_utilization_percent",
    "In use system memory": "gpu_memory_in_use_bytes",
    "Alloc system memory": "gpu_memory_allocated_bytes",
}
PROPERTY = re.compile(r'"(?P<key>[^"\n]+)"\s?=\s?(?P<value><"[^"\n]*">|"[^"\n]*"|<[0-9a-fA-F]*>|[0-9]+)')


def parse_ioreg(text: str) -> Observed:
    """Facts and GPU readings from the properties of any registry entry."""
    properties: dict[str, str] = {}
    for found in PROPERTY.finditer(text):
        properties.setdefault(found["key"], found["value"])
    machine = machine_pb2.Machine(
        chip=apple_chip(properties.get("model", "").strip('<">')),
        model_name=properties.get("product-name", "").strip('<">').partition(" (")[0],
        gpu_cores=whole(properties.get("gpu-core-count"), bits=32),
        cpu_tiers=_cpu_tiers(properties),
    )
    readings: dict[str, Reading] = {
        name: whole(properties[key]) for key, name in STATISTICS.items() if key in properties
    }
    return Observed(machine=machine, readings=readings)


def _cpu_tiers(properties: dict[str, str]) -> list[machine_pb2.CpuTier]:
    """Tiers from p-, m- and e-core-count, fastest first.

    Where there is an m count, p counts the cores called Super and m those called Performance
    (recorded on an M5 Max); elsewhere the name of p depends on the chip.
    """
    has_middle = "m-core-count" in properties
    names = {"p": "Super", "m": "Performance", "e": "Efficiency"} if has_middle else {"p": "", "e": ""}
    counts = {letter: hexadecimal_data(properties.get(f"{letter}-core-count")) for letter in names}
    return [machine_pb2.CpuTier(name=names[letter], cores=cores) for letter, cores in counts.items() if cores]
