"""`uname -a`: kernel release and architecture.  The host's name is not read."""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.observed import Observed, Reading

DARWIN = re.compile(
    r"Darwin \S+ (?P<release>[0-9][0-9.]*) Darwin Kernel Version .*"
    r"/RELEASE_(?P<kernel>\w+) (?P<architecture>\w+)"
)


def parse_uname(text: str) -> Observed:
    """Kernel, architecture and, as a reading, the part number of the chip such as "T6041"."""
    found = DARWIN.search(text)
    if found is None:
        return Observed()
    part = found["kernel"].rpartition("_")[2]
    machine = machine_pb2.Machine(
        os_name="macOS",
        kernel_version=found["release"],
        architecture=found["architecture"],
        is_virtual=part == "VMAPPLE",
    )
    readings: dict[str, Reading] = {"chip_part": part} if re.fullmatch("T[0-9]+", part) else {}
    return Observed(machine=machine, readings=readings)
