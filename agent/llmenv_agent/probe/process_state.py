"""What macOS says of this process: translated by Rosetta, in a sandbox, held to the efficiency cores.

getpriority(PRIO_DARWIN_PROCESS) is 1 for a process in the background state (setpriority(2); `taskpolicy -b`
and what it starts), qos_class_self is the class of the calling thread (<sys/qos.h>).  The milder throttling
of a launchd job without a ProcessType shows in neither.  Never yet run on a Mac.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
from typing import Tuple

# <sys/resource.h> and <sys/qos.h>
PRIO_DARWIN_PROCESS, IN_BACKGROUND = 4, 1
QOS_CLASSES = {
    0x21: "user interactive",
    0x19: "user initiated",
    0x15: "default",
    0x11: "utility",
    0x09: "background",
}


def read_translated() -> bool:
    command = ["sysctl", "-n", "sysctl.proc_translated"]
    return parse_translated(subprocess.run(command, capture_output=True, text=True, check=False).stdout)


def parse_translated(text: str) -> bool:
    """Whether `sysctl -n sysctl.proc_translated` says that Rosetta runs this process; Intel lacks the key."""
    return text.strip() == "1"


def read_sandboxed() -> bool:
    """By sandbox_check(pid, NULL, 0) of libsystem, which is 1 for a process in a sandbox."""
    check = getattr(ctypes.CDLL(None), "sandbox_check", None)
    return check is not None and check(os.getpid(), None, 0) == 1


def read_quality() -> Tuple[int, int]:
    """The Darwin state of this process and the quality-of-service class of this thread."""
    return os.getpriority(PRIO_DARWIN_PROCESS, 0), int(ctypes.CDLL(None).qos_class_self())


def quality_in_words(darwin_state: int, qos_class: int) -> str:
    """Such as "utility"; the state of the whole process counts more than the class of the thread."""
    if darwin_state == IN_BACKGROUND:
        return "background"
    return QOS_CLASSES.get(qos_class, "unspecified")
