"""Places from which a service cannot start, or not for long."""

from __future__ import annotations

import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

# macOS asks a person at the screen before a program that nobody started touches these (TCC), and a binary on
# another volume hangs before it starts.
ASKED_FOR = ("Desktop", "Documents", "Downloads")
REMOVABLE = ("/Volumes", "/media", "/run/media")
EMPTIED_BY_MACOS = ("/tmp", "/private/tmp", "/var/folders", "/private/var/folders")  # noqa: S108 # compared with


def why_not_there(path: Path, *, home: Path, is_mac: bool = sys.platform == "darwin") -> str:
    """Why what a service needs cannot lie at `path`, in words; "" where it can."""
    if any(path.is_relative_to(folder) for folder in REMOVABLE):
        return "lies on a volume that may not be there when the service starts"
    if is_mac and any(path.is_relative_to(home / name) for name in ASKED_FOR):
        return (
            "lies below a folder for which macOS asks a person at the screen (Desktop, Documents, Downloads)"
        )
    return ""


def why_not_lasting(path: Path, *, is_mac: bool = sys.platform == "darwin") -> str:
    """Why an interpreter at `path` may be gone tomorrow, in words; "" where it stays."""
    passing = [tempfile.gettempdir(), *(EMPTIED_BY_MACOS if is_mac else ())]
    if any(path.is_relative_to(folder) for folder in passing):
        return "lies in a folder for temporary files"
    if "Cellar" in path.parts:
        return "belongs to one version of a Homebrew formula and goes with it"
    if any(part in {".cache", "Caches", "archive-v0"} for part in path.parts):
        return "lies in a cache"
    return ""
