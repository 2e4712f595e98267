"""`sw_vers`: version and build of macOS."""

from __future__ import annotations

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.lines import colon_lines
from llmenv_agent.facts.observed import Observed

COMMAND = ("sw_vers",)


def parse_sw_vers(text: str) -> Observed:
    """Name, version (with the suffix of a rapid response, such as "13.3.1 (a)") and build."""
    keys = colon_lines(text)
    parts = (keys.get("ProductVersion", ""), keys.get("ProductVersionExtra", ""))
    machine = machine_pb2.Machine(
        os_name="macOS" if keys.get("ProductName") in {"macOS", "Mac OS X"} else "",
        os_version=" ".join(filter(None, parts)),
        os_build=keys.get("BuildVersion", ""),
    )
    return Observed(machine=machine)
