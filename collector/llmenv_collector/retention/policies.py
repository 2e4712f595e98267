"""How long what is kept: raw trials, log tails, the bytes of refused records, and notices; all else for ever.

Age is counted from when the collector received it, by its own clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.retention.notice_removal import NOTICES
from llmenv_collector.retention.removals import LOGS, REFUSED, TRIALS, Removal
from llmenv_collector.settings import parse_days

if TYPE_CHECKING:
    from llmenv_collector.settings import Settings


@dataclass(frozen=True)
class Policy:
    removal: Removal
    keeps_seconds: int | None
    """None for ever."""

    def removes_until(self, now: int) -> int | None:
        """What was received before goes, microseconds since 1970."""
        return None if self.keeps_seconds is None else now - self.keeps_seconds * clock.MICROSECONDS


def policies_of(settings: Settings) -> list[Policy]:
    return [
        Policy(TRIALS, parse_days(settings.keep_trials, where="keep_trials")),
        Policy(LOGS, parse_days(settings.keep_logs, where="keep_logs")),
        Policy(REFUSED, parse_days(settings.keep_refused, where="keep_refused")),
        Policy(NOTICES, parse_days(settings.keep_notices, where="keep_notices")),
    ]
