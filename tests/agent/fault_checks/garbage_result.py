"""What becomes of a result file that is no result?"""

import os

SUITES = ("faults",)
REQUIRES = ()
TIMEOUT_SECONDS = 30
PARAMETERS = {}


def run(probe):
    (probe.scratch.parent / "result.json").write_text('{"status": "splendid"}')
    os._exit(0)
