"""What becomes of a process that takes more memory than it may?"""

import os
from pathlib import Path

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 60
PARAMETERS = {"control_group": "", "megabytes": 256}


def run(probe):
    (Path(probe.parameters["control_group"]) / "cgroup.procs").write_text(str(os.getpid()))
    taken = bytearray(os.urandom(1024)) * (1024 * probe.parameters["megabytes"])
    probe.passed("{size} bytes were taken.", size=len(taken))
