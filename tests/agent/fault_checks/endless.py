"""What becomes of a check whose agent is killed?"""

import time
from pathlib import Path

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 600
PARAMETERS = {"note": ""}


def run(probe):
    import os

    Path(probe.parameters["note"]).write_text(str(os.getpid()))
    time.sleep(600)
