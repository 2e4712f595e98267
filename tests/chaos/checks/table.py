"""Does a check of many rows leave a record that a slow reader takes a while for?"""

from typing import Any

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe: Any) -> None:
    for number in range(60):
        with probe.case(f"row {number}", number=number) as case:
            case.passed("Row {number} is there: {filling}.", number=number, filling="x" * 400)
    probe.passed("All rows are there.")
