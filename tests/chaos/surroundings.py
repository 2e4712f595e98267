"""What a round may do around the two programs: disks that fill up, clocks that step, a link that goes down.

Each needs something of this system; what is not to be had is named, and its rounds are left out.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import struct
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

DISK_BYTES = 48 << 20
CLOCK_SOURCE = Path(__file__).with_name("shifted_clock.c")


class Disk:
    """A folder with a file system of its own, small enough to be filled in no time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"
        folder.mkdir(parents=True, exist_ok=True)
        options = ["-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=0700", "tmpfs", str(folder)]
        self.is_small = _succeeds("mount", *options)

    def fill(self) -> None:
        """Take every byte that is left."""
        with contextlib.suppress(OSError), self._ballast.open("ab", buffering=0) as file:
            while True:
                free = os.statvfs(self.folder).f_bavail * os.statvfs(self.folder).f_frsize
                file.write(bytes(max(4_096, min(free, 1 << 20))))

    def empty(self) -> None:
        self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        if self.is_small:
            _succeeds("umount", "--lazy", str(self.folder))


class Clock:
    """The wall clock of one program, which can be stepped while it runs."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file = folder / f"{name}.clock"
        self._library = folder / "shifted_clock.so"
        self._file.write_bytes(struct.pack("l", 0))
        compiler = shutil.which("cc") or shutil.which("gcc")
        self.can_step = self._library.exists() or (
            compiler is not None
            and _succeeds(
                compiler, "-shared", "-fPIC", "-O1", "-o", str(self._library), str(CLOCK_SOURCE), "-ldl"
            )
        )

    @property
    def environment(self) -> Mapping[str, str]:
        if not self.can_step:
            return {}
        return {"LD_PRELOAD": str(self._library), "SHIFTED_CLOCK": str(self._file)}

    def set(self, seconds: int) -> None:
        """Off by so many seconds from now on."""
        with self._file.open("r+b") as file:
            file.write(struct.pack("l", seconds))


class Link:
    """Loopback of a network of our own: down, nothing arrives and nobody is told."""

    def __init__(self) -> None:
        self.can_go_down = _enter_network() and _succeeds("ip", "link", "set", "lo", "up")

    def set(self, *, up: bool) -> None:
        if self.can_go_down:
            _succeeds("ip", "link", "set", "lo", "up" if up else "down")


def _enter_network() -> bool:
    """Leave for a new network namespace, which all processes started from now on inherit."""
    clone_new_network = 0x40000000
    try:
        return bool(ctypes.CDLL(None, use_errno=True).unshare(clone_new_network) == 0)
    except (AttributeError, OSError):
        return False


def _succeeds(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False
