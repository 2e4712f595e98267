"""`python -m torch.utils.collect_env`, and the shorter lists that people put into issues."""

from __future__ import annotations

import re

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts.lines import colon_lines
from llmenv_agent.facts.observed import Observed, Reading

SYSTEM = re.compile(r"macOS (?P<version>[0-9][0-9.]*)(?: \((?P<architecture>\w+)\))?")
CHIP = re.compile(r"^(?:CPU:\n|Hardware: )(?P<chip>Apple [^\n]+)", re.MULTILINE)
PACKAGE = re.compile(r"^\[pip3\] (?P<name>[\w.-]+)==(?P<version>\S+)", re.MULTILINE)
MPS_FLAG = re.compile(r"^mps_(?P<flag>built|available) (?P<value>True|False)$", re.MULTILINE)


def parse_collect_env(text: str) -> Observed:
    """System and chip as facts; versions of Python, torch and pip's packages as readings."""
    keys = colon_lines(text)
    system, chip = SYSTEM.match(keys.get("OS", "")), CHIP.search(text)
    machine = machine_pb2.Machine(
        chip=chip["chip"].strip() if chip else "",
        os_name="macOS" if system else "",
        os_version=system["version"] if system else "",
        architecture=(system and system["architecture"]) or keys.get("Architecture", ""),
    )
    packages = {found["name"]: found["version"] for found in PACKAGE.finditer(text)}
    readings: dict[str, Reading] = {
        "torch_version": _first_word(keys.get("PyTorch version") or keys.get("PyTorch")),
        "python_version": _first_word(keys.get("Python version") or keys.get("Python")),
        "packages": packages or None,
        **{f"mps_{found['flag']}": found["value"] == "True" for found in MPS_FLAG.finditer(text)},
    }
    return Observed(
        machine=machine, readings={name: value for name, value in readings.items() if value is not None}
    )


def _first_word(text: str | None) -> str | None:
    return text.split()[0] if text else None
