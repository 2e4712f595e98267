"""`system_profiler`: the hardware and display sections, as JSON or as text.

Three keys name the Metal family, by version of macOS.  `number_processors` is
"proc 8:4:4" (all, performance, efficiency), "proc 18:6:0:12" (all, super, efficiency,
performance) or, in a virtual machine, an integer.
"""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.document import Document, json_document
from llmenv_agent.facts.lines import colon_lines
from llmenv_agent.facts.observed import Observed, Reading, apple_chip, merge, unnamed_tiers
from llmenv_agent.facts.quantities import memory_bytes, whole

COMMAND = ("system_profiler", "-json", "SPHardwareDataType", "SPDisplaysDataType")
METAL_KEYS = ("spdisplays_mtlgpufamilysupport", "spdisplays_metalfamily", "spdisplays_metal")
# Both sections say "Total Number of Cores"; the display section is the one that names a chipset.
GPU_CORES = re.compile(
    r"Chipset Model:[^\n]*\n(?:[^\n]*\n){0,12}?\s*Total Number of (?:GPU )?Cores: (?P<cores>[0-9]+)\s*$",
    re.MULTILINE,
)
TIERS = re.compile(r"Total Number of Cores: [0-9]+ \((?P<tiers>[^)\n]*)\)")
SYSTEM_VERSION = re.compile(r"(?:macOS|Mac OS X) (?P<version>.+) \((?P<build>\w+)\)")


def parse_system_profiler(text: str) -> Observed:
    """Facts from the JSON of any data types, or from the text of any macOS version."""
    if text.lstrip().startswith("{"):
        document = json_document(text)
        hardware = (_hardware(section) for section in document.items("SPHardwareDataType"))
        displays = (_display(section) for section in document.items("SPDisplaysDataType"))
        return merge(*hardware, *displays)
    return _text(text)


def _hardware(section: Document) -> Observed:
    tiers, readings = _processors(section)
    machine = machine_pb2.Machine(
        chip=section.text("chip_type") or "",
        model_identifier=section.text("machine_model") or "",
        model_name=section.text("machine_name") or "",
        cpu_tiers=tiers,
        memory_bytes=memory_bytes(section.text("physical_memory")),
    )
    return Observed(machine=machine, readings=readings)


def _processors(section: Document) -> tuple[list[machine_pb2.CpuTier], dict[str, Reading]]:
    total = section.whole("number_processors", bits=32)
    if total is not None:
        return [], {"cpu_cores": total}
    counts = [whole(word, bits=32) for word in (section.text("number_processors") or "").split(":")[1:]]
    fastest_first = [counts[0], counts[2], counts[1]] if len(counts) == 3 else counts
    return unnamed_tiers(fastest_first), {}


def _display(section: Document) -> Observed:
    """A GPU; what hangs on it is not asked."""
    stated = next(filter(None, map(section.text, METAL_KEYS)), "")
    machine = machine_pb2.Machine(
        chip=apple_chip(section.text("sppci_model") or ""),
        gpu_cores=whole(section.text("sppci_cores"), bits=32),
        accelerator=_metal_family(stated),
    )
    return Observed(machine=machine)


def _text(text: str) -> Observed:
    keys = colon_lines(text)
    system = SYSTEM_VERSION.fullmatch(keys.get("System Version", ""))
    gpu, tiers = GPU_CORES.search(text), TIERS.search(text)
    machine = machine_pb2.Machine(
        chip=keys.get("Chip") or apple_chip(keys.get("Chipset Model", "")),
        model_identifier=keys.get("Model Identifier", ""),
        model_name=keys.get("Model Name", ""),
        gpu_cores=whole(gpu["cores"], bits=32) if gpu else None,
        cpu_tiers=_worded_tiers(tiers["tiers"]) if tiers else [],
        memory_bytes=memory_bytes(keys.get("Memory")),
        os_name="macOS" if system else "",
        os_version=system["version"] if system else "",
        os_build=system["build"] if system else "",
        kernel_version=keys.get("Kernel Version", "").removeprefix("Darwin "),
        accelerator=_metal_family(keys.get("Metal Support") or keys.get("Metal Family") or ""),
    )
    return Observed(machine=machine)


def _worded_tiers(text: str) -> list[machine_pb2.CpuTier]:
    """Tiers of "10 performance and 4 efficiency", which newer systems capitalise."""
    pairs = re.findall(r"([0-9]+) ([A-Za-z]+)", text)
    return [
        machine_pb2.CpuTier(name=name.capitalize(), cores=whole(cores, bits=32) or 0) for cores, name in pairs
    ]


def _metal_family(stated: str) -> str:
    """ "Metal 4" or "apple7"; "Metal" where the system says only that it is supported."""
    words = stated.lower().removeprefix("spdisplays_").replace("mtlgpufamily", "").replace(" ", "")
    family = re.search(r"apple[0-9]+", words)
    if family:
        return family[0]
    version = re.search(r"metal([0-9]+)", words)
    return f"Metal {version[1]}" if version else "Metal" if words.startswith("supported") else ""
