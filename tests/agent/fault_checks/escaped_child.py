"""What becomes of a child in a session of its own that keeps the output open?"""

import subprocess

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    probe.fact("child", child.pid)
    probe.passed("A child has escaped.")
