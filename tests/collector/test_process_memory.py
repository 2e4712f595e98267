"""A process that bounds its memory counts its own alone."""

from __future__ import annotations

import subprocess
import sys

from llmenv_collector.sql import process_memory

STATUS = "Name:\tpython3.11\nVmPeak:\t  611000 kB\nVmHWM:\t    8800 kB\nVmRSS:\t    8000 kB\n"


def test_the_peak_is_read_in_bytes() -> None:
    assert process_memory.parse_status(STATUS, "VmHWM") == 8_800 * 1_024


def test_a_small_process_of_a_large_one_is_small() -> None:
    """A child of a process with 400 MB has taken a few of its own."""
    script = (
        "import subprocess, sys; much = b'x' * 400_000_000\n"
        "code = 'from llmenv_collector.sql.process_memory import peak_bytes; print(peak_bytes())'\n"
        "print(subprocess.run([sys.executable, '-c', code], capture_output=True, text=True).stdout)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert 1_000_000 < int(done.stdout) < 200_000_000


def test_a_process_that_takes_too_much_is_ended() -> None:
    script = (
        "import time\nfrom llmenv_collector.sql.process_memory import end_above\n"
        "end_above(100_000_000, exit_code=3); much = b'x' * 200_000_000; time.sleep(30)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "")
