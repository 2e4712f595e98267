"""What is left of the measurements of a check that was disturbed?"""

import time

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {"seconds": 0.0}


def run(probe):
    time.sleep(probe.parameters["seconds"])
    probe.measure("steps_per_second", 12.5, "1/s", better="higher")
    with probe.case("fp16") as case:
        case.measure("seconds", 0.25, "s", better="lower")
        case.passed("It took its time.")
    probe.passed("It measured.")
