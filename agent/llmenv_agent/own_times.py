"""Since when the configuration has the times of day that it has, over restarts of the agent.

A time that came since then while the machine was off was missed, also where nothing ever started; one that
came before was not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
from typing import TYPE_CHECKING

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llmenv_agent.schedule_settings import ScheduleSettings

FILE_NAME = "own_times.json"


class OwnTimes:
    """A damaged file counts as none: what was missed before it was written anew is not made up."""

    def __init__(self, path: Path, *, clocks: Clocks = SYSTEM_CLOCKS) -> None:
        self._path = path
        self._clocks = clocks
        self._since = self._read()

    def dated(self, settings: Iterable[ScheduleSettings]) -> list[ScheduleSettings]:
        """The same; those of the configuration that have times of day with `times_since`."""
        return [
            dataclasses.replace(each, times_since=self._known_since(each)) if _is_own(each) else each
            for each in settings
        ]

    def take(self, settings: Iterable[ScheduleSettings]) -> list[ScheduleSettings]:
        """As `dated`, and these alone are on the disk now."""
        dated = self.dated(settings)
        since = {
            _times(each): each.times_since for each in dated if _is_own(each) and each.times_since is not None
        }
        if since != self._since:
            self._since = since
            # On a full disk the agent goes on, and knows these times from its next start.
            with contextlib.suppress(OSError):
                self._write()
        return dated

    def _known_since(self, settings: ScheduleSettings) -> float:
        """Never later than now: that was written by a clock that has been put back since."""
        now = self._clocks.wall()
        return min(self._since.get(_times(settings), now), now)

    def _read(self) -> dict[tuple[str, str], float]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {(each["suite"], each["at"]): float(each["since"]) for each in content}
        except (OSError, ValueError, TypeError, KeyError):
            return {}

    def _write(self) -> None:
        content = [{"suite": suite, "at": at, "since": since} for (suite, at), since in self._since.items()]
        part = self._path.with_name(self._path.name + ".part")
        with part.open("w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        part.replace(self._path)


def _is_own(settings: ScheduleSettings) -> bool:
    return settings.at is not None and not settings.schedule_id


def _times(settings: ScheduleSettings) -> tuple[str, str]:
    return settings.suite, settings.at.expression if settings.at else ""
