"""What becomes of a read through a null pointer?"""

import ctypes

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    ctypes.string_at(0)
