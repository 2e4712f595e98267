"""What becomes of a package that is not installed?"""

SUITES = ("faults",)
REQUIRES = ("json", "a_package_that_nobody_has")
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    probe.passed("Never reached.")
