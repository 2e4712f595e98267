"""When each suite runs next. The last start of each is remembered over restarts of the agent.

- What was missed (the machine slept or was off, or another suite ran) is made up once, not time for time,
  and not where its next time comes within the splay: that makes it up.
- Many machines do not start at one moment: each start is later by the machine's own share of the splay, the
  same one every time, also for what is made up at wake or boot.
- Intervals go by a clock that nobody sets.  Times of day go by the wall clock: when it is put forward, what
  was passed over is made up once; when it is put back by up to three hours, nothing runs a second time; by
  more, the new time holds at once.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from llmenv_agent import state_file
from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.errors import StateError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from llmenv.cron import Cron

    from llmenv_agent.schedule_settings import ScheduleSettings

FILE_NAME = "schedule.json"
# Later than this it was missed: nobody looked, because the machine slept or another suite ran.
MISSED_SECONDS = 120.0
# The bound that cron(8) of Debian and of macOS draws between summer time and a correction of the clock.
_PUT_BACK_SECONDS = 3 * 3_600.0


@dataclass(frozen=True, kw_only=True)
class Due:
    """A schedule whose time came at `since`, Unix seconds; what it starts is of `suite`."""

    key: str
    since: float
    suite: str
    name: str
    regardless_of_use: bool = False

    @property
    def words(self) -> str:
        """A schedule of the configuration is called as its suite."""
        of = "" if self.name == self.suite else f" of schedule {self.name}"
        return f"suite {self.suite}{of}"


class Rhythm(Protocol):
    """The times of one schedule, one after the other."""

    def seconds_left(self) -> float:
        """Until the next time; negative once it has come."""

    def move_on(self) -> None:
        """The next time is the one after now."""

    def seconds_to_following(self) -> float:
        """Until the first time after now, whatever was missed."""


class Interval:
    """A time every `seconds`; `started` is the last start by the wall clock, which bridges a restart.

    The very first time is `first`, by the wall clock; None is now.
    """

    def __init__(
        self, seconds: float, *, started: float | None, clocks: Clocks, first: float | None = None
    ) -> None:
        self._seconds = seconds
        self._clocks = clocks
        now = clocks.wall()
        # A start in the future was written by a clock that has been put back since.
        if started is None or started > now:
            left = 0.0 if first is None else min(first - now, seconds)
        else:
            left = started + seconds - now
        self._next = clocks.elapsed() + left

    def seconds_left(self) -> float:
        return self._next - self._clocks.elapsed()

    def move_on(self) -> None:
        self._next = self._clocks.elapsed() + self._seconds

    def seconds_to_following(self) -> float:
        """Its times follow from starts."""
        return math.inf


class TimesOfDay:
    """The times of a cron expression, each `later` by a share of the splay.

    Those up to `passed`, by the wall clock, are over; None is now.  `on_put_back` is called with the time of
    a clock that was put back too far for that to be so.
    """

    def __init__(
        self,
        cron: Cron,
        *,
        later: float,
        passed: float | None,
        clocks: Clocks,
        on_put_back: Callable[[float], None] = lambda _at: None,
    ) -> None:
        self._cron = cron
        self._later = later
        self._clocks = clocks
        self._on_put_back = on_put_back
        self._passed = clocks.wall() if passed is None else passed
        self._put_back_at: float | None = None
        self._put_back_lead = 0.0

    def seconds_left(self) -> float:
        now = self._clocks.wall()
        return self._cron.next_after(self._reference(now)) + self._later - now

    def move_on(self) -> None:
        self._passed = self._clocks.wall()
        self._put_back_at = None

    def seconds_to_following(self) -> float:
        now = self._clocks.wall()
        return self._cron.next_after(now - self._later) + self._later - now

    def _reference(self, now: float) -> float:
        """The next time is the first one after this.

        A clock that was put back too far and merely went on from there still says the new time; one that was
        put forward again was corrected.
        """
        lead = now - self._clocks.elapsed()
        if self._passed > now + _PUT_BACK_SECONDS:
            if self._put_back_at is None:
                self._on_put_back(now)
            self._put_back_at = min(now, self._put_back_at or now)
            self._put_back_lead = lead
        elif lead - self._put_back_lead > MISSED_SECONDS:
            self._put_back_at = None
        return self._passed if self._put_back_at is None else self._put_back_at


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
        self._machine_id = machine_id
        self._clocks = clocks
        self._started = self._read()
        self._settings: dict[str, ScheduleSettings] = {}
        self._share: dict[str, float] = {}
        self._rhythms: dict[str, Rhythm] = {}
        self._due: dict[str, Due] = {}
        self._made_up_at: dict[str, float] = {}
        self._put_back: dict[str, float] = {}
        self.use(settings)

    def use(self, settings: Iterable[ScheduleSettings]) -> None:
        """Other settings count: of what stays as it was, what is due or to be made up stays so."""
        former = self._settings
        self._settings = {each.key: each for each in settings if not each.is_on_demand}
        stays = {key for key, each in self._settings.items() if each.is_as(former.get(key))}
        self._share = {key: splay_share(self._machine_id, each) for key, each in self._settings.items()}
        self._rhythms = {
            key: self._rhythms[key] if key in stays else self._rhythm(each)
            for key, each in self._settings.items()
        }
        self._due = {key: due for key, due in self._due.items() if key in stays}
        self._made_up_at = {key: at for key, at in self._made_up_at.items() if key in stays}

    def due(self) -> list[Due]:
        """Schedules whose time has come and that have not started, the longest overdue first.

        One that is still waiting when its next time comes is due since that.
        """
        for key, rhythm in self._rhythms.items():
            if (left := self._seconds_left(key)) <= 0:
                self._due[key] = self._due_since(key, self._clocks.wall() + left)
                self._made_up_at.pop(key, None)
                rhythm.move_on()
        self._keep_put_back()
        return sorted(self._due.values(), key=lambda due: due.since)

    def seconds_to_next(self) -> float:
        """Until another one's time comes; 0 when one has, infinity where all wait for a command."""
        return max(0.0, min(map(self._seconds_left, self._rhythms), default=math.inf))

    def next_at(self, key: str) -> float:
        """Its next time, Unix seconds."""
        return self._clocks.wall() + max(0.0, self._seconds_left(key))

    def started_at(self, key: str) -> float | None:
        """Its last start, Unix seconds."""
        return self._started.get(key)

    def note_start(self, key: str) -> None:
        """It starts now; its next time follows from this."""
        self._due.pop(key, None)
        self._made_up_at.pop(key, None)
        self._rhythms[key].move_on()
        self._started[key] = self._clocks.wall()
        self._write()

    def _keep_put_back(self) -> None:
        """An agent that starts anew when the former start has come near cannot see it."""
        if not self._put_back:
            return
        self._started |= {
            key: at for key, at in self._put_back.items() if at < self._started.get(key, -math.inf)
        }
        self._put_back = {}
        with contextlib.suppress(StateError):  # this one knows
            self._write()

    def _write(self) -> None:
        state_file.write(self._path, json.dumps(self._started))

    def _due_since(self, key: str, since: float) -> Due:
        settings = self._settings[key]
        return Due(
            key=key,
            since=since,
            suite=settings.suite,
            name=settings.shown_name,
            regardless_of_use=settings.regardless_of_use,
        )

    def _seconds_left(self, key: str) -> float:
        left = self._rhythms[key].seconds_left()
        if left < -MISSED_SECONDS and key not in self._made_up_at:
            self._made_up_at[key] = self._clocks.elapsed() + self._until_made_up(key)
        if key in self._made_up_at:
            return self._made_up_at[key] - self._clocks.elapsed()
        return left

    def _until_made_up(self, key: str) -> float:
        """What was missed comes a share of the splay after it is noticed, or at a next time that is near."""
        following = self._rhythms[key].seconds_to_following()
        return following if following <= self._settings[key].splay_seconds else self._share[key]

    def _rhythm(self, settings: ScheduleSettings) -> Rhythm:
        later, started = self._share[settings.key], self._started.get(settings.key)
        if settings.at is not None:
            return TimesOfDay(
                settings.at,
                later=later,
                passed=self._passed(settings),
                clocks=self._clocks,
                on_put_back=functools.partial(self._put_back.__setitem__, settings.key),
            )
        since = settings.known_since
        return Interval(
            settings.every_seconds + later,
            started=started,
            clocks=self._clocks,
            # Many machines hear of it in one moment.
            first=None if since is None else since + later,
        )

    def _passed(self, settings: ScheduleSettings) -> float | None:
        """Its last start, or when the machine was told these times: none that came before it was missed."""
        started, since = self._started.get(settings.key), settings.times_since
        # One in the future was written by a clock that has been put back since.
        if since is None or since > self._clocks.wall():
            return started
        return since if started is None else max(started, since)

    def _read(self) -> dict[str, float]:
        try:
            content = json.loads(self._path.read_text(encoding="utf-8"))
            return {str(key): float(started) for key, started in content.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError):  # running once too often is the milder error
            return {}


def splay_share(machine_id: str, settings: ScheduleSettings) -> float:
    """This machine's part of the splay, seconds: by its id, so that it is the same after every restart."""
    return settings.splay_seconds * fraction(f"{machine_id} {settings.key}")


def fraction(text: str) -> float:
    """From 0 to 1, always the same for one text, and evenly spread over many."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8]) / 2**64
