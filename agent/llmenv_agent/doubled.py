"""Whether another agent is at work with this machine's identity, as the collector last said.

It happens when a disk was cloned with the agent on it. Kept in the state directory while it is so, for
`status` and `doctor`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llmenv_agent.marker import Marker, marked_since

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "doubled"
REMEDY = (
    "On one of the two, run `llmenv-agent enroll --replace` with a new token and start the agent again; "
    "it becomes a machine of its own."
)


class Doubled:
    """Of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._marker = Marker(state_dir / FILE_NAME)

    def note(self, is_so: bool) -> None:
        if not self._marker.note(is_so):
            return
        if is_so:
            log.warning("another agent has this machine's identity: was this disk cloned? %s", REMEDY)
        else:
            log.info("no other agent has this machine's identity any more")


def doubled_since(state_dir: Path) -> str | None:
    """When the collector first said so, ISO 8601; None where it does not."""
    return marked_since(state_dir / FILE_NAME)
