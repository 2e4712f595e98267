"""`powermetrics`, as a property list (samples separated by NUL) or as text.

In the property list the GPU's `freq_hz` is in MHz although the CPU's is in Hz.  Energy
counters are left out; power is in mW.  Not every sampler is there, nor every macOS the same.
"""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.document import Document, plist_document
from llmenv_agent.facts.lines import colon_lines
from llmenv_agent.facts.notifyutil import LEVELS
from llmenv_agent.facts.observed import Observed, Reading
from llmenv_agent.facts.quantities import leading_number

POWERS = {
    "cpu_power_mw": ("cpu_power", "CPU Power"),
    "gpu_power_mw": ("gpu_power", "GPU Power"),
    "ane_power_mw": ("ane_power", "ANE Power"),
    "combined_power_mw": ("combined_power", "Combined Power (CPU + GPU + ANE)"),
}
CLUSTER = re.compile(r"^(?P<name>\w+-Cluster) HW active frequency: (?P<mhz>[0-9]{1,6}) MHz", re.MULTILINE)


def parse_powermetrics(text: str) -> tuple[Observed, ...]:
    """One answer per sample of a property list; one for a text."""
    if "<plist" not in text:
        return (_text_sample(text),)
    return tuple(_plist_sample(plist_document(part)) for part in text.split("\0") if part.strip())


def _plist_sample(sample: Document) -> Observed:
    pressure = (sample.text("thermal_pressure") or "").lower()
    idle = sample.real("gpu", "idle_ratio")
    clusters = {
        cluster.text("name") or "": round(hertz / 1e6, 1)
        for cluster in sample.items("processor", "clusters")
        if (hertz := cluster.real("freq_hz")) is not None
    }
    readings: dict[str, Reading] = {
        **{name: sample.real("processor", key) for name, (key, _) in POWERS.items()},
        "gpu_frequency_mhz": sample.real("gpu", "freq_hz"),
        "gpu_active_percent": None if idle is None else round(100 * (1 - idle), 2),
        "cluster_frequency_mhz": clusters or None,
    }
    machine = machine_pb2.Machine(
        model_identifier=sample.text("hw_model") or "", os_build=sample.text("kern_osversion") or ""
    )
    conditions = machine_pb2.Conditions(thermal_pressure=pressure if pressure in LEVELS else "")
    return Observed(machine=machine, conditions=conditions, readings=_present(readings))


def _text_sample(text: str) -> Observed:
    keys = colon_lines(text)
    readings: dict[str, Reading] = {
        **{name: leading_number(keys.get(key)) for name, (_, key) in POWERS.items()},
        "gpu_frequency_mhz": leading_number(keys.get("GPU HW active frequency")),
        "gpu_active_percent": leading_number(keys.get("GPU HW active residency")),
        "cluster_frequency_mhz": {found["name"]: float(found["mhz"]) for found in CLUSTER.finditer(text)}
        or None,
    }
    machine = machine_pb2.Machine(
        model_identifier=keys.get("Machine model", ""), os_build=keys.get("OS version", "")
    )
    return Observed(machine=machine, readings=_present(readings))


def _present(readings: dict[str, Reading]) -> dict[str, Reading]:
    return {name: value for name, value in readings.items() if value is not None}
