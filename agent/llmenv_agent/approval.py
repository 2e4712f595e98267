"""Whether this machine waits for approval, as the collector last said.

It happens when it enrolled with a token for several machines. Checks run meanwhile, and the spool keeps what
they find.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llmenv_agent.marker import Marker, marked_since

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

FILE_NAME = "waits-for-approval"
REMEDY = "An admin lets it deliver: `llmenv-collector machine approve {machine_id}`."


class Approval:
    """Of one state directory."""

    def __init__(self, state_dir: Path) -> None:
        self._marker = Marker(state_dir / FILE_NAME)

    def note(self, reason: str) -> None:
        """Why it waits, in the collector's words; empty when it waits no more."""
        if not self._marker.note(bool(reason)):
            return
        if reason:
            log.warning("nothing is delivered yet, and nothing is lost: %s", reason)
        else:
            log.info("this machine is approved")


def waiting_since(state_dir: Path) -> str | None:
    """When the collector first said so, ISO 8601; None where it does not."""
    return marked_since(state_dir / FILE_NAME)
