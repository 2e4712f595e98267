"""Copies of a database file: with shared blocks where the file system can, else in small steps.

A step is on the disk before the next one begins.  Otherwise gigabytes would wait in memory to be
written, and commits with them.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

LINUX_FICLONE = 0x40049409
NO_REFLINK = {errno.EOPNOTSUPP, errno.EXDEV, errno.EINVAL, errno.ENOTTY, errno.ENOSYS}
STEP_BYTES = 8 << 20
# DuckDB's storage: three headers, then blocks of this size that each begin with their own checksum.
HEADER_BYTES = 3 * 4_096
BLOCK_BYTES = 256 << 10
CHECKSUM_BYTES = 8


def copy(source: Path, target: Path) -> None:
    """Of a file that does not change meanwhile, to one that is not there."""
    if not clone(source, target):
        copy_part(source, target, length=source.stat().st_size)


def clone(source: Path, target: Path) -> bool:
    """Shares the blocks.  Whether it worked; if not, there is no target."""
    if sys.platform == "darwin":
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.clonefile(os.fsencode(source), os.fsencode(target), 0) == 0)
    with source.open("rb") as original, target.open("xb") as copied:
        try:
            fcntl.ioctl(copied, LINUX_FICLONE, original.fileno())
        except OSError as error:
            target.unlink()
            if error.errno in NO_REFLINK:
                return False
            raise
    return True


def copy_part(source: Path, target: Path, *, length: int) -> None:
    """The first bytes of a file that may grow."""
    with source.open("rb") as original, target.open("xb") as copied:
        transfer(original, copied, start=0, length=length)


def refresh(source: Path, target: Path) -> None:
    """Makes an older copy of a database file equal to it, by the blocks that have changed."""
    with source.open("rb") as original, target.open("r+b") as copied:
        size = os.fstat(original.fileno()).st_size
        copied.truncate(size)
        transfer(original, copied, start=0, length=min(HEADER_BYTES, size))
        for start in range(HEADER_BYTES, size, BLOCK_BYTES):
            ours = os.pread(copied.fileno(), CHECKSUM_BYTES, start)
            if os.pread(original.fileno(), CHECKSUM_BYTES, start) != ours:
                transfer(original, copied, start=start, length=min(BLOCK_BYTES, size - start))


def transfer(original: BinaryIO, copied: BinaryIO, *, start: int, length: int) -> None:
    original.seek(start)
    copied.seek(start)
    left = length
    while left > 0:
        step = original.read(min(left, STEP_BYTES))
        if not step:
            raise OSError(errno.EIO, "the file became shorter while it was copied")
        copied.write(step)
        copied.flush()
        os.fdatasync(copied.fileno()) if sys.platform == "linux" else os.fsync(copied.fileno())
        left -= len(step)
