"""`caffeinate`: a Mac does not fall asleep while a check runs.

`-i` holds off the sleep of an idle machine, `-m` that of its disks; closing the lid is not held off.  With
`-w` it ends with the process that it watches, so nothing is left of it when the agent dies.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def kept_awake(pid: int) -> Iterator[None]:
    """For as long as the process runs, at most as long as the block; nothing where there is no caffeinate."""
    caffeinate = _start(pid)
    try:
        yield
    finally:
        if caffeinate is not None:
            caffeinate.terminate()
            caffeinate.wait()


def _start(pid: int) -> subprocess.Popen[bytes] | None:
    program = shutil.which("caffeinate")
    if program is None:
        return None
    nowhere = subprocess.DEVNULL
    with contextlib.suppress(OSError):  # a check that may be put to sleep is better than none
        return subprocess.Popen(
            [program, "-i", "-m", "-w", str(pid)], stdin=nowhere, stdout=nowhere, stderr=nowhere
        )
    return None
