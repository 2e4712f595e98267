"""Memory of this process, at its highest and now, in bytes, with the name of the figure it comes from.

Linux: VmHWM and VmRSS of /proc/self/status.  Not ru_maxrss: after fork and exec
that one starts at the peak of the process that forked.  macOS: the physical
footprint and its lifetime maximum, which count what the GPU maps.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

RUSAGE_INFO_V4 = 4


class _RusageInfoV4(ctypes.Structure):
    """`struct rusage_info_v4` of <sys/resource.h>: 16 bytes, then 35 uint64."""

    _fields_ = [
        ("ri_uuid", ctypes.c_uint8 * 16),
        ("times_to_resident_size", ctypes.c_uint64 * 7),
        ("ri_phys_footprint", ctypes.c_uint64),
        ("start_to_serviced_system_time", ctypes.c_uint64 * 19),
        ("ri_logical_writes", ctypes.c_uint64),
        ("ri_lifetime_max_phys_footprint", ctypes.c_uint64),
        ("instructions_to_runnable_time", ctypes.c_uint64 * 6),
    ]


def peak() -> Dict[str, Any]:
    """`process_bytes` and `process_source` of `llmenv.fleet.v1.PeakMemory`."""
    if sys.platform == "darwin":
        footprint = _rusage().ri_lifetime_max_phys_footprint
        if footprint:
            return {"process_bytes": float(footprint), "process_source": "phys_footprint"}
    high_water = parse_high_water(_status())
    if high_water:
        return {"process_bytes": float(high_water), "process_source": "VmHWM"}
    return {"process_bytes": float(_maxrss()), "process_source": "ru_maxrss"}


def current() -> Tuple[Optional[float], str]:
    """Bytes that this process has now, and the name of the figure; None where the system does not say."""
    if sys.platform == "darwin":
        return float(_rusage().ri_phys_footprint) or None, "phys_footprint"
    return float(_in_status(_status(), "VmRSS")) or None, "VmRSS"


def give_back() -> None:
    """Have the C library return the memory that it keeps free, so that `current` is what is held.

    malloc_trim of glibc, malloc_zone_pressure_relief of macOS; elsewhere nothing happens.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "malloc_trim"):
        library.malloc_trim(ctypes.c_size_t(0))
    elif hasattr(library, "malloc_zone_pressure_relief"):
        library.malloc_zone_pressure_relief(None, ctypes.c_size_t(0))


def parse_high_water(status: str) -> int:
    """VmHWM of a /proc/PID/status text in bytes; 0 where it is absent."""
    return _in_status(status, "VmHWM")


def _in_status(status: str, key: str) -> int:
    """A figure of a /proc/PID/status text, which counts KiB, in bytes; 0 where it is absent."""
    for line in status.splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def _status() -> str:
    """This process's /proc status; empty where there is none."""
    path = Path("/proc/self/status")
    return path.read_text(encoding="ascii", errors="replace") if path.exists() else ""


def _maxrss() -> int:
    """ru_maxrss in bytes: macOS counts bytes, other systems KiB."""
    value = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return value if sys.platform == "darwin" else value * 1024


def _rusage() -> _RusageInfoV4:
    """The kernel's record of this process; zeros where the call is refused.

    Never yet run on a Mac: see docs/verified-on.md.
    """
    record = _RusageInfoV4()
    call = getattr(ctypes.CDLL(None), "proc_pid_rusage", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
        call.restype = ctypes.c_int
        if call(os.getpid(), RUSAGE_INFO_V4, ctypes.byref(record)) != 0:
            return _RusageInfoV4()
    return record
