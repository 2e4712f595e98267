"""What becomes of a process that exits without a word?"""

import os

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {"code": 3}


def run(probe):
    os._exit(probe.parameters["code"])
