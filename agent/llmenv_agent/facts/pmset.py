"""`pmset -g`, `-g batt`, `-g therm`, `-g systemstate`: power source and power mode.

The low-power key is `lowpowermode` on most Macs and `powermode` (0 automatic, 1 low, 2 high) on
some Pro and Max ones.  On Apple Silicon `-g therm` gives no number; see `notifyutil`.
"""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.observed import Observed, Reading
from llmenv_agent.facts.quantities import whole

SETTINGS_COMMAND = ("pmset", "-g")
SOURCE_COMMAND = ("pmset", "-g", "batt")
SOURCES = {"AC Power": "ac", "Battery Power": "battery", "UPS Power": "battery"}
MODE = re.compile(r"^\s*(?:lowpowermode|powermode)\s+(?P<mode>[0-2])\b", re.MULTILINE)
SOURCE = re.compile(r"Now drawing from '(?P<source>[^']*)'")
WARNING_FREE = re.compile(r"^Note: No (?P<kind>thermal|performance) warning level", re.MULTILINE)
POWER_STATE = re.compile(r"^Current Power State: (?P<state>[0-9]+)", re.MULTILINE)


def parse_pmset(text: str) -> Observed:
    """Conditions from whichever of the four outputs the text is."""
    mode, source, state = MODE.search(text), SOURCE.search(text), POWER_STATE.search(text)
    conditions = machine_pb2.Conditions(
        power_source=SOURCES.get(source["source"], "") if source else "",
        low_power_mode=mode["mode"] == "1" if mode else None,
    )
    readings: dict[str, Reading] = {
        f"{found['kind']}_warning": False for found in WARNING_FREE.finditer(text)
    }
    if state:
        readings["system_power_state"] = whole(state["state"], bits=32)
    return Observed(conditions=conditions, readings=readings)
