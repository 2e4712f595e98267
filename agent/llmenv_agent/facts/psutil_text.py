"""What `print(psutil.virtual_memory())` and `print(psutil.swap_memory())` write."""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.observed import Observed
from llmenv_agent.facts.quantities import whole

TUPLE = re.compile(r"\b(?P<kind>svmem|sswap)\((?P<fields>[^)]*)\)")


def parse_psutil(text: str) -> Observed:
    """Physical memory, available memory and used swap, in bytes."""
    tuples = {found["kind"]: _fields(found["fields"]) for found in TUPLE.finditer(text)}
    memory, swap = tuples.get("svmem", {}), tuples.get("sswap", {})
    return Observed(
        machine=machine_pb2.Machine(memory_bytes=whole(memory.get("total"))),
        conditions=machine_pb2.Conditions(
            available_memory_bytes=whole(memory.get("available")), swap_used_bytes=whole(swap.get("used"))
        ),
    )


def _fields(text: str) -> dict[str, str]:
    return dict(re.findall(r"(\w+)=([0-9.]+)", text))
