"""What becomes of 50 MB of output?"""

import sys

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {"megabytes": 50}


def run(probe):
    for number in range(probe.parameters["megabytes"]):
        sys.stdout.write(f"{number:05d}{'x' * 999_994}\n")
    print("the last words")
    probe.passed("All was written.")
