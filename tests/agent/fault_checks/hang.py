"""What becomes of a loop that never ends and hears no SIGTERM?"""

import signal

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 6
PARAMETERS = {}


def run(probe):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    spin()


def spin():
    while True:
        pass
