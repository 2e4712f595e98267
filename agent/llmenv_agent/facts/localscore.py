"""Systems of LocalScore (llamafile): accelerators such as "Apple M4 Max 12P+4E+40GPU".

The memory of a GPU there is the system's recommended working set, rounded to 0.01 GiB; it
stays a reading, since bytes cannot be had back from it.
"""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.document import Document, json_stream
from llmenv_agent.facts.observed import Observed, Reading, unnamed_tiers
from llmenv_agent.facts.quantities import GIBIBYTE, whole

NAME = re.compile(r"(?P<chip>Apple .+?) (?P<p>[0-9]+)P\+(?P<e>[0-9]+)E(?:\+(?P<gpu>[0-9]+)GPU)?")


def parse_localscore(text: str) -> tuple[Observed, ...]:
    """One answer per system."""
    return tuple(_system(document) for document in json_stream(text))


def _system(document: Document) -> Observed:
    found = NAME.fullmatch(document.text("accelerator") or "")
    memory_gib = document.real("ram_gb")
    is_darwin = document.text("kernel_type") == "Darwin"
    machine = machine_pb2.Machine(
        chip=found["chip"] if found else "",
        cpu_tiers=unnamed_tiers([whole(found[tier], bits=32) for tier in "pe"]) if found else [],
        gpu_cores=whole(found["gpu"], bits=32) if found else None,
        memory_bytes=round(memory_gib * GIBIBYTE) if memory_gib and 0 < memory_gib < 2**20 else None,
        os_name="macOS" if is_darwin else "",
        kernel_version=document.text("kernel_release") or "",
        architecture=document.text("cpu_arch") or "",
    )
    readings: dict[str, Reading] = {}
    if document.text("type") == "GPU" and (recommended := document.real("memory_gb")) is not None:
        readings["recommended_working_set_gib"] = recommended
    return Observed(machine=machine, readings=readings)
