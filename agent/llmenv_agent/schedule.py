"""When each suite runs next. The last start of each is remembered over restarts of the agent.

- What was missed (the machine slept or was off, or another suite ran) is made up once, not time for time.
- Many machines do not start at one moment: each start is later by the machine's own share of the splay, the
  same one every time, also for what is made up at wake or boot.
- Intervals go by a clock that nobody sets.  Times of day go by the wall clock: when it is put forward, what
  was passed over is made up once; when it is put back by up to three hours, nothing runs a second time; by
  more, the new time holds at once.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from llmenv.cron import Cron

    from llmenv_agent.schedule_settings import ScheduleSettings

# Later than this it was missed: nobody looked, because the machine slept or another suite ran.
MISSED_SECONDS = 120.0
# The bound that cron(8) of Debian and of macOS draws between summer time and a correction of the clock.
_PUT_BACK_SECONDS = 3 * 3_600.0


@dataclass(frozen=True, kw_only=True)
class Due:
    """A suite whose time came at `since`, Unix seconds."""

    suite: str
    since: float


class Rhythm(Protocol):
    """The times of one suite, one after the other."""

    def seconds_left(self) -> float:
        """Until the next time; negative once it has come."""

    def move_on(self) -> None:
        """The next time is the one after now."""


class Interval:
    """A time every `seconds`; `started` is the last start by the wall clock, which bridges a restart."""

    def __init__(self, seconds: float, *, started: float | None, clocks: Clocks) -> None:
        self._seconds = seconds
        self._clocks = clocks
        now = clocks.wall()
        # A start in the future was written by a clock that has been put back since.
        left = 0.0 if started is None or started > now else started + seconds - now
        self._next = clocks.elapsed() + left

    def seconds_left(self) -> float:
        return self._next - self._clocks.elapsed()

    def move_on(self) -> None:
        self._next = self._clocks.elapsed() + self._seconds


class TimesOfDay:
    """The times of a cron expression, each `later` by a share of the splay."""

    def __init__(self, cron: Cron, *, later: float, started: float | None, clocks: Clocks) -> None:
        self._cron = cron
        self._later = later
        self._clocks = clocks
        self._passed = clocks.wall() if started is None else started
        self._put_back_at: float | None = None

    def seconds_left(self) -> float:
        now = self._clocks.wall()
        return self._cron.next_after(self._reference(now)) + self._later - now

    def move_on(self) -> None:
        self._passed = self._clocks.wall()

    def _reference(self, now: float) -> float:
        """The next time is the first one after this."""
        if self._passed <= now + _PUT_BACK_SECONDS:
            self._put_back_at = None
            return self._passed
        self._put_back_at = min(now, self._put_back_at or now)
        return self._put_back_at


class Schedule:
    def __init__(
        self,
        settings: Iterable[ScheduleSettings],
        *,
        path: Path,
        machine_id: str = "",
        clocks: Clocks = SYSTEM_CLOCKS,
    ) -> None:
        self._path = path
        self._clocks = clocks
        self._started = self._read()
        by_suite = {each.suite: each for each in settings if not each.is_on_demand}
        self._share = {suite: splay_share(machine_id, each) for suite, each in by_suite.items()}
        self._rhythms = {suite: self._rhythm(each) for suite, each in by_suite.items()}
        self._due: dict[str, Due] = {}
        self._made_up_at: dict[str, float] = {}

    def due(self) -> list[Due]:
        """Suites whose time has come and that have not started, the longest overdue first.

        One that is still waiting when its next time comes is due since that.
        """
        for suite, rhythm in self._rhythms.items():
            if (left := self._seconds_left(suite)) <= 0:
                self._due[suite] = Due(suite=suite, since=self._clocks.wall() + left)
                self._made_up_at.pop(suite, None)
                rhythm.move_on()
        return sorted(self._due.values(), key=lambda due: due.since)

    def seconds_to_next(self) -> float:
        """Until another suite's time comes; 0 when one has, infinity where all wait for a command."""
        return max(0.0, min(map(self._seconds_left, self._rhythms), default=math.inf))

    def note_start(self, suite: str) -> None:
        """The suite starts now; its next time follows from this."""
        self._due.pop(suite, None)
        self._made_up_at.pop(suite, None)
        self._rhythms[suite].move_on()
        self._started[suite] = self._clocks.wall()
        part = self._path.with_name(self._path.name + ".part")
        part.write_text(json.dumps(self._started), encoding="utf-8")
        part.replace(self._path)

    def _seconds_left(self, suite: str) -> float:
        """What was missed comes a share of the splay after it is noticed."""
        left = self._rhythms[suite].seconds_left()
        if left < -MISSED_SECONDS and suite not in self._made_up_at:
            self._made_up_at[suite] = self._clocks.elapsed() + self._share[suite]
        if suite in self._made_up_at:
            return self._made_up_at[suite] - self._clocks.elapsed()
        return left

    def _rhythm(self, settings: ScheduleSettings) -> Rhythm:
        later, started = self._share[settings.suite], self._started.get(settings.suite)
        if settings.at is not None:
            return TimesOfDay(settings.at, later=later, started=started, clocks=self._clocks)
        return Interval(settings.every_seconds + later, started=started, clocks=self._clocks)

    def _read(self) -> dict[str, float]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(suite): float(started) for suite, started in content.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):  # running once too often is the milder error
            return {}


def splay_share(machine_id: str, settings: ScheduleSettings) -> float:
    """This machine's part of the splay, seconds: by its id, so that it is the same after every restart."""
    digest = hashlib.sha256(f"{machine_id} {settings.suite}".encode()).digest()
    return settings.splay_seconds * int.from_bytes(digest[:8]) / 2**64
