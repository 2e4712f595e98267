"""Whether another agent is at work with this machine's identity, as the collector last said.

It happens when a disk was cloned with the agent on it. Kept in the state directory while it is so, for
`status` and `doctor`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "doubled"
REMEDY = (
    "On one of the two, run `llmenv-agent enroll --replace` with a new token and start the agent again; "
    "it becomes a machine of its own."
)


class Doubled:
    """Of one state directory; its file is touched only when the answer changes."""

    def __init__(self, state_dir: Path) -> None:
        self._path = state_dir / FILE_NAME
        self._is_so = self._path.exists()

    def note(self, is_so: bool) -> None:
        if is_so == self._is_so:
            return
        self._is_so = is_so
        if is_so:
            log.warning("another agent has this machine's identity: was this disk cloned? %s", REMEDY)
        else:
            log.info("no other agent has this machine's identity any more")
        with contextlib.suppress(OSError):  # a full disk is said elsewhere
            if is_so:
                self._path.write_text(dt.datetime.now(dt.UTC).isoformat(), encoding="utf-8")
            else:
                self._path.unlink(missing_ok=True)


def doubled_since(state_dir: Path) -> str | None:
    """When the collector first said so, ISO 8601; None where it does not."""
    try:
        return (state_dir / FILE_NAME).read_text(encoding="utf-8") or None
    except FileNotFoundError:
        return None
