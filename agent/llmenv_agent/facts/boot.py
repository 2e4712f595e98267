"""Which start of the system this is. A changed clock moves `kern.boottime`, but not this."""

from __future__ import annotations

import functools
import platform
from pathlib import Path

from llmenv_agent.facts.tool import read_tools

MAC_COMMAND = ("sysctl", "-n", "kern.bootsessionuuid")
LINUX_FILE = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def read_boot_id() -> str:
    """The same until the system starts anew; "" where it cannot be read."""
    if platform.system() == "Darwin":
        return read_tools(MAC_COMMAND)[0].strip()
    try:
        return LINUX_FILE.read_text().strip()
    except OSError:
        return ""
