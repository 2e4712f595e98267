"""What becomes of a library that aborts the process, as MPS assertions do?"""

import os
import sys

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    print("MPSNDArray.mm:788: failed assertion `buffer is not large enough'", file=sys.stderr)
    os.abort()
