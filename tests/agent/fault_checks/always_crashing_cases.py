"""What becomes of a check every row of which aborts?"""

import os

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {"rows": 100}


def run(probe):
    for number in range(probe.parameters["rows"]):
        if probe.is_completed(f"row {number}"):
            continue
        with probe.case(f"row {number}"):
            os.abort()
