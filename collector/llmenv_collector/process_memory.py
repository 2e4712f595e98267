"""How much memory this process has taken at most, bytes.

Not `ru_maxrss` on Linux: it survives fork and exec, so a small process that a large collector starts would
begin with the collector's peak (docs/decisions/0005).
"""

from __future__ import annotations

import os
import resource
import sys
import threading
import time
from pathlib import Path

STATUS = Path("/proc/self/status")
LOOK_SECONDS = 0.05
KIBIBYTE = 1_024


def peak_bytes() -> int:
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return parse_peak(STATUS.read_text(encoding="ascii", errors="replace"))


def parse_peak(status: str) -> int:
    """VmHWM of /proc/self/status, proc(5)."""
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * KIBIBYTE


def end_above(memory_bytes: int, *, exit_code: int) -> None:
    """From a thread of its own: macOS does not enforce RLIMIT_DATA on mapped memory."""
    threading.Thread(target=_watch, args=(memory_bytes, exit_code), daemon=True).start()


def _watch(memory_bytes: int, exit_code: int) -> None:
    while peak_bytes() < memory_bytes:
        time.sleep(LOOK_SECONDS)
    os._exit(exit_code)
