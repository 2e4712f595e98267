"""`vm_stat`: memory that can be had without swapping."""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.lines import colon_lines
from llmenv_agent.facts.observed import Observed
from llmenv_agent.facts.quantities import whole

PAGE_SIZE = re.compile(r"page size of (?P<bytes>[0-9]{1,9}) bytes")
# What psutil calls available: inactive and free pages, where vm_stat counts speculative ones apart.
AVAILABLE = ("Pages free", "Pages speculative", "Pages inactive")


def parse_vm_stat(text: str) -> Observed:
    """Available memory; the first line states the page size, 16,384 bytes or under Rosetta 4,096."""
    size, keys = PAGE_SIZE.search(text), colon_lines(text)
    counts = [whole(keys.get(key, "").rstrip("."), bits=48) for key in AVAILABLE]
    known = [count for count in counts if count is not None]
    if size is None or len(known) < len(AVAILABLE):
        return Observed()
    page_bytes = int(size["bytes"])
    available = sum(known) * page_bytes
    return Observed(
        conditions=machine_pb2.Conditions(available_memory_bytes=available if available < 2**64 else None),
        readings={"page_size_bytes": page_bytes},
    )
