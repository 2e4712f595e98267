"""The state of the machine at one moment, which decides what may be compared.

It is read before and after every check, so it is cheap: a few small tools at once, no
system_profiler, no nvidia-smi.
"""

from __future__ import annotations

import os
import platform
import shutil
import time
from pathlib import Path

from llmenv.fleet.v1 import machine_pb2

from llmenv_agent.facts import notifyutil, pmset, session, sysctl
from llmenv_agent.facts.observed import Observed, merge
from llmenv_agent.facts.tool import read_tools


def read_conditions(*, folder: Path | None = None) -> machine_pb2.Conditions:
    """Conditions now; `folder` lies on the file system whose free space counts, by default the home."""
    parts = [read_system(folder=folder or Path.home())]
    if platform.system() == "Darwin":
        parts.append(read_mac_conditions())
    return merge(*parts).conditions


def read_system(*, folder: Path) -> Observed:
    """What every system tells: memory, swap, load, uptime, free disk, kind of session."""
    import psutil

    conditions = machine_pb2.Conditions(
        available_memory_bytes=psutil.virtual_memory().available,
        swap_used_bytes=psutil.swap_memory().used,
        load_1m=os.getloadavg()[0],
        uptime_seconds=max(0.0, time.time() - psutil.boot_time()),
        session_type=session.read_session_type(),
        free_disk_bytes=_free_bytes(folder),
    )
    return Observed(conditions=conditions)


def read_mac_conditions() -> Observed:
    """Power source and mode, thermal pressure, memory pressure."""
    settings, source, thermal, pressure = read_tools(
        pmset.SETTINGS_COMMAND, pmset.SOURCE_COMMAND, notifyutil.COMMAND, sysctl.PRESSURE_COMMAND
    )
    return merge(
        pmset.parse_pmset(settings),
        pmset.parse_pmset(source),
        notifyutil.parse_notifyutil(thermal),
        sysctl.parse_sysctl(pressure),
    )


def _free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
