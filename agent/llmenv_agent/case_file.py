"""The cases file of a check in progress: which rows have ended and which one is running."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from llmenv_agent.verdict import case_from_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmenv.fleet.v1 import result_pb2

# As much as one look takes in, or else one line; the rest waits for the next.
_READ_BYTES = 4 * 1024 * 1024
_MOST_LINE_BYTES = 64 * 1024 * 1024


class CaseFile:
    """Reads what the probe appends to `path`, complete lines only.

    `unreadable` counts lines that are no row, as a full disk leaves them.
    """

    def __init__(self, path: Path, *, on_begin: Callable[[str], None]) -> None:
        self.ended: list[result_pb2.Case] = []
        self.running: dict[str, str] | None = None
        self.unreadable = 0
        self._running_since = 0.0
        self._path = path
        self._offset = 0
        self._on_begin = on_begin

    def look(self) -> bool:
        """Take in what is new; False where there was nothing."""
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                chunk = stream.read(_READ_BYTES)
                if b"\n" not in chunk:
                    chunk += stream.readline(_MOST_LINE_BYTES)
        except FileNotFoundError:
            return False
        complete = chunk[: chunk.rfind(b"\n") + 1]
        self._offset += len(complete)
        for line in complete.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, TypeError, KeyError, RecursionError):
                self.unreadable += 1
        return bool(complete)

    def look_to_the_end(self) -> None:
        while self.look():
            pass

    def running_seconds(self) -> float:
        """Since the running case was first seen, on the monotonic clock; 0 where none runs."""
        return time.monotonic() - self._running_since if self.running else 0.0

    def _take(self, event: dict[str, Any]) -> None:
        if "begin" in event:
            self.running = event["begin"]
            self._running_since = time.monotonic()
            self._on_begin(event["begin"]["name"])
        else:
            self.running = None
            self.ended.append(case_from_file(event["end"]))
