"""What becomes of rows that abort or hang between rows that are right?"""

import os
import time

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
CASE_TIMEOUT_SECONDS = 6
PARAMETERS = {}
ROWS = ("right", "aborts", "right again", "hangs", "right at last")


def run(probe):
    for name in ROWS:
        if probe.is_completed(name):
            continue
        with probe.case(name, word=name) as case:
            if name == "aborts":
                os.abort()
            if name == "hangs":
                time.sleep(600)
            case.passed("Row {name} is right.", name=name)
    probe.fact("seen", ", ".join(f"{name}: {word}" for name, word in probe.case_statuses.items()))
    probe.passed("All rows were run.")
