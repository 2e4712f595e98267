"""What becomes of a process that the system kills?"""

import os
import signal

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    os.kill(os.getpid(), signal.SIGKILL)
