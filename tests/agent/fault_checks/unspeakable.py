"""What becomes of an exception that cannot be put into words?"""

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


class UnspeakableError(Exception):
    def __str__(self):
        raise ValueError


def run(probe):
    raise UnspeakableError
