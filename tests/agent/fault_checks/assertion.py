"""What becomes of a failed assertion?"""

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    loss = 2.5
    assert loss < 1.0
