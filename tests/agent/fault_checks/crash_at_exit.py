"""What becomes of a process that aborts after its result, as a library may when it is unloaded?"""

import atexit
import os

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    atexit.register(os.abort)
    probe.passed("The work was right.")
