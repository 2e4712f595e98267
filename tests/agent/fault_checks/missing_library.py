"""What becomes of a dynamic library that is not there?"""

import ctypes

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    ctypes.CDLL("liba_library_that_nobody_has.so.7")
