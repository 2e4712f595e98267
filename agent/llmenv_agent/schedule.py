"""When each suite runs next. The last start of each is remembered over restarts of the agent."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from llmenv_agent.configuration import ScheduleSettings


class Schedule:
    """Times are Unix seconds. A suite that never ran is due at once."""

    def __init__(
        self, settings: Iterable[ScheduleSettings], *, path: Path, clock: Callable[[], float] = time.time
    ) -> None:
        self._settings = {each.suite: each for each in settings}
        self._path = path
        self._clock = clock
        self._started = self._read()
        self._next = {suite: self._after(suite) for suite in self._settings}

    def due(self) -> list[str]:
        """Suites whose time has come, the longest overdue first."""
        now = self._clock()
        return sorted((suite for suite, at in self._next.items() if at <= now), key=self._next.__getitem__)

    def seconds_to_next(self) -> float:
        """Until something is due; 0 when something is."""
        return max(0.0, min(self._next.values()) - self._clock())

    def note_start(self, suite: str) -> None:
        """The suite starts now; its next time follows from this."""
        self._started[suite] = self._clock()
        self._next[suite] = self._after(suite)
        part = self._path.with_name(self._path.name + ".part")
        part.write_text(json.dumps(self._started), encoding="utf-8")
        part.replace(self._path)

    def _after(self, suite: str) -> float:
        settings = self._settings[suite]
        # A start in the future was written by a clock that has been set back since.
        started = self._started.get(suite, 0.0)
        if not 0.0 < started <= self._clock():
            return self._clock()
        splay = random.uniform(0.0, settings.splay_seconds)  # noqa: S311 # spreads load, protects nothing
        return started + settings.every_seconds + splay

    def _read(self) -> dict[str, float]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(suite): float(started) for suite, started in content.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):  # running once too often is the milder error
            return {}
