"""What becomes of a child that outlives its check?"""

import subprocess

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    child = subprocess.Popen(["sleep", "600"])
    probe.fact("child", child.pid)
    probe.passed("A child was left behind.")
