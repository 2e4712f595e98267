"""Since when something is so, as the collector last said: a file of the state directory while it is."""

from __future__ import annotations

import contextlib
import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Marker:
    """Its file is touched only when the answer changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_so = path.exists()

    def note(self, is_so: bool) -> bool:
        """Whether the answer has changed."""
        if is_so == self._is_so:
            return False
        self._is_so = is_so
        with contextlib.suppress(OSError):  # a full disk is said elsewhere
            if is_so:
                self._path.write_text(dt.datetime.now(dt.UTC).isoformat(), encoding="utf-8")
            else:
                self._path.unlink(missing_ok=True)
        return True


def marked_since(path: Path) -> str | None:
    """ISO 8601; None where it is not so."""
    try:
        return path.read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None
