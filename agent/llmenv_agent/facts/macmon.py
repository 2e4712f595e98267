"""`macmon pipe`: one JSON object a sample."""

from __future__ import annotations

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.document import Document, json_stream
from llmenv_agent.facts.observed import Observed, Reading

READINGS = {
    "gpu_frequency_mhz": ("gpu_freq_mhz",),
    "gpu_active_ratio": ("gpu_active_ratio",),
    "cpu_active_ratio": ("cpu_active_ratio",),
    "cpu_power_w": ("cpu_power",),
    "gpu_power_w": ("gpu_power",),
    "system_power_w": ("sys_power",),
    "cpu_temperature_c": ("temp", "cpu_temp_avg"),
    "gpu_temperature_c": ("temp", "gpu_temp_avg"),
}


def parse_macmon(text: str) -> tuple[Observed, ...]:
    """Memory, swap, power, frequencies and temperatures of each sample."""
    return tuple(_sample(document) for document in json_stream(text))


def _sample(document: Document) -> Observed:
    values = {name: document.real(*path) for name, path in READINGS.items()}
    readings: dict[str, Reading] = {name: value for name, value in values.items() if value is not None}
    if (used := document.whole("memory", "ram_usage")) is not None:
        readings["ram_used_bytes"] = used
    return Observed(
        machine=machine_pb2.Machine(memory_bytes=document.whole("memory", "ram_total")),
        conditions=machine_pb2.Conditions(swap_used_bytes=document.whole("memory", "swap_usage")),
        readings=readings,
    )
