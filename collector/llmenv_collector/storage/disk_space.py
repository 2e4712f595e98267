"""Room on the disk of the database: deliveries are refused before it is used up.

The rest is kept for what has to go on: checkpoints, commands, and the copies that
are read from.  DuckDB loses nothing on a full disk, but a checkpoint without room
makes it refuse everything until the file is opened anew.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.errors import FullStoreError

if TYPE_CHECKING:
    from pathlib import Path

MEGABYTE = 1_000_000


@dataclass(frozen=True)
class DiskSpace:
    folder: Path
    reserve_bytes: int

    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def shortage(self) -> str:
        """One sentence; empty when there is room."""
        free = self.free_bytes()
        if free >= self.reserve_bytes:
            return ""
        kept = self.reserve_bytes // MEGABYTE
        return (
            f"The disk of {self.folder} has {free // MEGABYTE} MB left, and {kept} MB stay free:"
            " make room there, and deliveries go on by themselves."
        )

    def require(self) -> None:
        """Raises FullStoreError."""
        if shortage := self.shortage():
            raise FullStoreError(shortage)
