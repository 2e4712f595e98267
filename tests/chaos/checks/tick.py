"""Does a check that needs nothing leave its records?"""

from typing import Any

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe: Any) -> None:
    probe.measure("ticks_per_second", 1.0, "1/s", better="higher", trials=[1.0] * 20)
    probe.passed("It ticks.")
