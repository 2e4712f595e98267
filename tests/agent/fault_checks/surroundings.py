"""What does a check see around it?"""

import os
import sys
from pathlib import Path

SUITES = ("quick", "faults")
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {"names": ""}
ENVIRONMENT = {"CHECK_VARIABLE": "set by the check"}
ORDER = 10


def run(probe):
    for name in probe.parameters["names"].split():
        probe.fact(name, os.environ.get(name, "(absent)"))
    probe.fact("stdin", sys.stdin.read())
    probe.fact("utf8", bool(sys.flags.utf8_mode))
    probe.fact("sys_path", os.pathsep.join(sys.path))
    probe.fact("modules", " ".join(sorted(sys.modules)))
    probe.fact("folder", str(Path.cwd()))
    probe.passed("Seen.")
