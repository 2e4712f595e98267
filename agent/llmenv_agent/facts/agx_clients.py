"""`ioreg`: how long each process has used the GPU of a Mac with Apple Silicon, readable without root.

Every process with a Metal queue has entries of class AGXDeviceUserClient below the accelerator: who made them
and the GPU time of each of its queues in nanoseconds. Apple documents neither name; several public monitors
read them, and no recording of ours has them.
"""

from __future__ import annotations

import re

COMMAND = ("ioreg", "-r", "-d", "1", "-w", "0", "-c", "AGXDeviceUserClient")
# The properties of an entry stand in no promised order, so they are read entry by entry.
_ENTRY = "+-o "
_CREATOR = re.compile(r'"IOUserClientCreator"\s*=\s*"pid (?P<pid>[0-9]{1,9}),')
_GPU_TIME = re.compile(r'"accumulatedGPUTime"\s*=\s*(?P<nanoseconds>[0-9]{1,20})')


def parse_agx_clients(text: str) -> dict[int, float] | None:
    """GPU seconds since each process's queues were made, by process id; None where the text tells of none."""
    seconds: dict[int, float] = {}
    for entry in text.split(_ENTRY)[1:]:
        creator = _CREATOR.search(entry)
        if creator is not None:
            spent = sum(int(found["nanoseconds"]) for found in _GPU_TIME.finditer(entry)) / 1e9
            seconds[int(creator["pid"])] = seconds.get(int(creator["pid"]), 0.0) + spent
    return seconds or None
