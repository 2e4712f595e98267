"""`mactop --headless`: a JSON list of samples.  Of its network and Thunderbolt parts nothing is kept."""

from __future__ import annotations

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.document import Document, json_stream
from llmenv_agent.facts.observed import Observed, Reading, unnamed_tiers

READINGS = {
    "gpu_frequency_mhz": ("soc_metrics", "gpu_freq_mhz"),
    "gpu_active_percent": ("gpu_usage",),
    "cpu_active_percent": ("cpu_usage",),
    "cpu_power_w": ("soc_metrics", "cpu_power"),
    "gpu_power_w": ("soc_metrics", "gpu_power"),
    "system_power_w": ("soc_metrics", "system_power"),
    "soc_temperature_c": ("soc_metrics", "soc_temp"),
}


def parse_mactop(text: str) -> tuple[Observed, ...]:
    """Chip, cores, memory and power of each sample."""
    return tuple(_sample(document) for document in json_stream(text))


def _sample(document: Document) -> Observed:
    system = document.at("system_info")
    counts = [system.whole(key, bits=32) for key in ("p_core_count", "e_core_count")]
    machine = machine_pb2.Machine(
        chip=system.text("name") or "",
        gpu_cores=system.whole("gpu_core_count", bits=32),
        cpu_tiers=unnamed_tiers(counts),
        memory_bytes=document.whole("memory", "total"),
    )
    conditions = machine_pb2.Conditions(
        available_memory_bytes=document.whole("memory", "available"),
        swap_used_bytes=document.whole("memory", "swap_used"),
    )
    values = {name: document.real(*path) for name, path in READINGS.items()}
    readings: dict[str, Reading] = {name: value for name, value in values.items() if value is not None}
    # Its word is NSProcessInfo's thermal state, another scale than thermal pressure.
    if state := document.text("thermal_state"):
        readings["thermal_state"] = state
    return Observed(machine=machine, conditions=conditions, readings=readings)
