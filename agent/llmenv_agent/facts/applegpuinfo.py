"""`gpuinfo list` of github.com/philipturner/applegpuinfo.

Name, core count, memory and family are read from the system.  Clock, bandwidth and rate come
from the tool's own table, and from the M3 on they are guesses: hence `stated_` in the readings.
"""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.lines import colon_lines
from llmenv_agent.facts.observed import Observed, Reading
from llmenv_agent.facts.quantities import leading_number, memory_bytes, whole

STATED = {
    "GPU clock frequency": "stated_gpu_clock_ghz",
    "GPU bandwidth": "stated_bandwidth_gb_per_s",
    "GPU FLOPS": "stated_fp32_tflops",
}


def parse_applegpuinfo(text: str) -> Observed:
    """The first GPU of the list."""
    keys = colon_lines(text)
    family = re.fullmatch(r"Apple ([0-9]{1,3})", keys.get("GPU family", ""))
    machine = machine_pb2.Machine(
        chip=keys.get("GPU name", ""),
        gpu_cores=whole(keys.get("GPU core count"), bits=32),
        memory_bytes=memory_bytes(keys.get("GPU memory")),
        accelerator=f"apple{family[1]}" if family else "",
    )
    readings: dict[str, Reading] = {
        name: leading_number(keys[key]) for key, name in STATED.items() if key in keys
    }
    return Observed(machine=machine, readings=readings)
