"""Whether a file lies in the system's memory, and how to get it out of there without being root.

"Cold" is said of a read only where it was seen: `drop` asks the system to forget a file's pages, and
`resident_share` counts those that are still there.  Linux forgets by posix_fadvise(DONTNEED), once they
have been written; macOS by msync(MS_INVALIDATE) on a mapping, as vmtouch does.  A file system in memory
forgets nothing, and the cache of the drive itself is out of reach.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from pathlib import Path

    from .findings import Findings

MS_INVALIDATE = 2  # <sys/mman.h> of Linux and macOS
# What is left of a file that was dropped: read-ahead of a neighbour may bring a few pages back.
COLD_UP_TO = 0.02


class Forgotten:
    """Files that the system is asked to forget, again and again, and the most of them that it ever kept."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._highest_share = 0.0

    def forget(self) -> None:
        for path in self._paths:
            drop(path)
        shares = [resident_share(path) for path in self._paths]
        self._highest_share = max(self._highest_share, *shares)

    def require_absence(self, findings: Findings) -> None:
        """Skip what was not cold each time, with the share that was still there."""
        findings.measure("resident_share", self._highest_share, "1", better="lower")
        if self._highest_share > COLD_UP_TO:
            findings.skip(
                "Cold cannot be measured: the system kept {share:.0f} % of the file in memory.",
                share=100 * self._highest_share,
            )


def drop(path: Path) -> None:
    """Ask the system to forget the file's pages, after writing what is not on the drive yet."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        elif sys.platform == "darwin":
            _invalidate(descriptor)
    finally:
        os.close(descriptor)


def resident_share(path: Path) -> float:
    """Share of the file's pages that are in memory, by mincore(2); OSError where it is refused."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        with mmap.mmap(descriptor, 0) as mapping:
            pages = -(-len(mapping) // mmap.PAGESIZE)
            states = (ctypes.c_ubyte * pages)()
            if _library().mincore(_address(mapping), ctypes.c_size_t(len(mapping)), states) != 0:
                raise OSError(ctypes.get_errno(), "mincore was refused")
            return sum(state & 1 for state in states) / pages
    finally:
        os.close(descriptor)


def _invalidate(descriptor: int) -> None:
    """Never yet run on a Mac: see docs/verified-on.md. What it does is judged by `resident_share`."""
    with mmap.mmap(descriptor, 0) as mapping:
        _library().msync(_address(mapping), ctypes.c_size_t(len(mapping)), MS_INVALIDATE)


def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _address(mapping: mmap.mmap) -> ctypes.c_void_p:
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(mapping)))
