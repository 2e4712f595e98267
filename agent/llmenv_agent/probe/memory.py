"""Peak memory of this process, in bytes, with the name of the figure it comes from.

Linux: VmHWM of /proc/self/status.  Not ru_maxrss: after fork and exec that one
starts at the peak of the process that forked.  macOS: the lifetime maximum of
the physical footprint, which counts what the GPU maps.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import Any, Dict

RUSAGE_INFO_V4 = 4


class _RusageInfoV4(ctypes.Structure):
    """`struct rusage_info_v4` of <sys/resource.h>: 16 bytes, then 35 uint64."""

    _fields_ = [
        ("ri_uuid", ctypes.c_uint8 * 16),
        ("times_to_serviced_system_time", ctypes.c_uint64 * 27),
        ("ri_logical_writes", ctypes.c_uint64),
        ("ri_lifetime_max_phys_footprint", ctypes.c_uint64),
        ("instructions_to_runnable_time", ctypes.c_uint64 * 6),
    ]


def peak() -> Dict[str, Any]:
    """`process_bytes` and `process_source` of `llmenv.fleet.v1.PeakMemory`."""
    if sys.platform == "darwin":
        footprint = _lifetime_max_phys_footprint()
        if footprint:
            return {"process_bytes": float(footprint), "process_source": "phys_footprint"}
    status = Path("/proc/self/status")
    if status.exists():
        high_water = parse_high_water(status.read_text(encoding="ascii", errors="replace"))
        if high_water:
            return {"process_bytes": float(high_water), "process_source": "VmHWM"}
    return {"process_bytes": float(_maxrss()), "process_source": "ru_maxrss"}


def parse_high_water(status: str) -> int:
    """VmHWM of a /proc/PID/status text in bytes; 0 where it is absent."""
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _maxrss() -> int:
    """ru_maxrss in bytes: macOS counts bytes, other systems KiB."""
    value = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return value if sys.platform == "darwin" else value * 1024


def _lifetime_max_phys_footprint() -> int:
    """Bytes, or 0 where the call is refused.  Never yet run on a Mac: see docs/verified-on.md."""
    record = _RusageInfoV4()
    try:
        call = ctypes.CDLL(None).proc_pid_rusage
    except AttributeError:
        return 0
    call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
    call.restype = ctypes.c_int
    if call(os.getpid(), RUSAGE_INFO_V4, ctypes.byref(record)) != 0:
        return 0
    return int(record.ri_lifetime_max_phys_footprint)
