"""Does a check that is asked to run for longer than its own deadline get the time?"""

import time

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 4
TIMEOUT_PARAMETER = "seconds"
PARAMETERS = {"seconds": 4.5, "longer_seconds": 0.0}


def run(probe):
    time.sleep(probe.parameters["seconds"] + probe.parameters["longer_seconds"])
    probe.passed("Slept.")
