"""How fast is a file read from the drive, and how fast from the system's memory?

Sequential reads of 1 MiB into one buffer, from a scratch file of random bytes, which neither a file system
nor a drive can make smaller. Cold, the system was asked to forget the file before every reading, and was
seen to have done so; where it keeps the file there is no cold figure. The drive's own cache is out of
reach: a file that fits into it may come from there.

The CRC-32 of what is read must be that of what was written. How trials are taken and judged is said in
`llmenv_probe.timing` and `llmenv_probe.trials`.
"""

from __future__ import annotations

import os
import shutil
import zlib
from typing import TYPE_CHECKING

from llmenv_probe import page_cache
from llmenv_probe.timing import Timer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmenv_agent.probe.context import Probe
    from llmenv_agent.probe.findings import Findings

ORDER = 380
SUITES = ("bench",)
REQUIRES = ()
TIMEOUT_SECONDS = 600
TYPICAL_SECONDS = 8
CASE_TIMEOUT_SECONDS = 300
# Of 2^20 bytes.
PARAMETERS = {"megabytes": 256, "trials": 10, "trial_seconds": 0.1, "cooldown_seconds": 2.0}
ALLOWED = {
    "megabytes": "1..65536",
    "trials": "10..1000",
    "trial_seconds": "0.001..60.0",
    "cooldown_seconds": "0.0..600.0",
}

BLOCK = 2**20


def run(probe: Probe) -> None:
    size = probe.parameters["megabytes"] * BLOCK
    free = shutil.disk_usage(probe.scratch).free
    if 2 * size > free:
        probe.skip(
            "Does not fit: twice {size:.2f} GB are wanted on the drive and {free:.2f} GB are free.",
            size=size / 1e9,
            free=free / 1e9,
        )
    path = probe.scratch / "random"
    checksum = _write(path, blocks=probe.parameters["megabytes"])
    timer = Timer(probe)
    for state in ("cold", "warm"):
        if not probe.is_completed(state):
            with timer.case(state, megabytes=probe.parameters["megabytes"], block=BLOCK) as case:
                _measure(timer, case, path, state=state, checksum=checksum)


def _write(path: Path, *, blocks: int) -> int:
    """CRC-32 of what was written."""
    checksum = 0
    with path.open("wb") as stream:
        for _ in range(blocks):
            block = os.urandom(BLOCK)
            checksum = zlib.crc32(block, checksum)
            stream.write(block)
    return checksum


def _measure(timer: Timer, case: Findings, path: Path, *, state: str, checksum: int) -> None:
    _refuse_other_bytes(case, path, checksum)
    cold = page_cache.Forgotten([path]) if state == "cold" else None
    series = timer.time(lambda: _read(path), prepare=cold and cold.forget)
    if cold:
        cold.require_absence(case)
    rate = series.measure_rate(case, "read_rate", "GB/s", work=path.stat().st_size / 1e9)
    case.passed("{state}: {rate:.2f} GB/s.", state=state, rate=rate)


def _refuse_other_bytes(case: Findings, path: Path, checksum: int) -> None:
    seen = 0

    def add(block: memoryview) -> None:
        nonlocal seen
        seen = zlib.crc32(block, seen)

    count = _read(path, add)
    if seen != checksum or count != path.stat().st_size:
        case.fail("What was read is not what was written: {count} bytes with another checksum.", count=count)


def _read(path: Path, look: "Callable[[memoryview], None]" = lambda _: None) -> int:
    """The bytes that came, given to `look` block by block."""
    buffer = memoryview(bytearray(BLOCK))
    total = 0
    with path.open("rb", buffering=0) as stream:
        while count := stream.readinto(buffer):
            look(buffer[:count])
            total += count
    return total
