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
STATUS_BYTES = 16_384
LOOK_SECONDS = 0.05
KIBIBYTE = 1_024


def peak_bytes() -> int:
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS
    return parse_status(STATUS.read_text(encoding="ascii", errors="replace"), "VmHWM")


def mapped_bytes() -> int:
    """What RLIMIT_DATA bounds; more than is resident, and 0 where it bounds nothing."""
    if sys.platform != "linux":
        return 0
    return parse_status(STATUS.read_text(encoding="ascii", errors="replace"), "VmData")


def parse_status(status: str, name: str) -> int:
    """A size in /proc/self/status, proc(5)."""
    line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * KIBIBYTE


def end_above(memory_bytes: int, *, exit_code: int) -> None:
    """From a thread of its own: macOS does not enforce RLIMIT_DATA on mapped memory.

    It opens nothing later, so that a process may forbid itself to.
    """
    status = os.open(STATUS, os.O_RDONLY) if sys.platform == "linux" else None
    threading.Thread(target=_watch, args=(memory_bytes, exit_code, status), daemon=True).start()


def _watch(memory_bytes: int, exit_code: int, status: int | None) -> None:
    while (peak_bytes() if status is None else _peak_of(status)) < memory_bytes:
        time.sleep(LOOK_SECONDS)
    os._exit(exit_code)


def _peak_of(status: int) -> int:
    return parse_status(os.pread(status, STATUS_BYTES, 0).decode("ascii", errors="replace"), "VmHWM")
