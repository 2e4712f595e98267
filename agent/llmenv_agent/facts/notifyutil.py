"""`notifyutil`: thermal pressure, the one number that macOS gives without root."""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.observed import Observed

COMMAND = ("notifyutil", "-g", "com.apple.system.thermalpressurelevel")
LEVELS = ("nominal", "moderate", "heavy", "trapping", "sleeping")
LEVEL = re.compile(r"com\.apple\.system\.thermalpressurelevel (?P<level>[0-9])\b")


def parse_notifyutil(text: str) -> Observed:
    """Thermal pressure as a word; a level beyond the known ones stays absent."""
    found = LEVEL.search(text)
    level = int(found["level"]) if found else len(LEVELS)
    word = LEVELS[level] if level < len(LEVELS) else ""
    return Observed(conditions=machine_pb2.Conditions(thermal_pressure=word))
