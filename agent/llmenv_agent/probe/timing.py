"""Times calls on a device: warm up until it is stable, then take trials, each ended by the device itself.

A trial is as many calls as it takes to last `trial_seconds` (0.1 s as in pyperf): their number doubles from
one until a trial is long enough, and what was timed meanwhile are warm-ups.  Warm-ups go on until
`trials.settled`, at most MOST_WARMUPS of them or WARMUP_SECONDS long; a series that did not settle by then is
taken all the same and marked as not warm.  The clock stops only after `synchronize` has returned, since work
given to an accelerator is not work done.  A trial without duration is refused: its rate would be infinite.

Cases are kept apart by a pause as long as the case before computed, at most `cooldown_seconds`, so that a
chip heated by one case does not slow the next one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Callable, Dict, List, NamedTuple, Optional

from .trials import Series, settled

if TYPE_CHECKING:
    from .cases import Case
    from .context import Probe

MOST_WARMUPS = 30
WARMUP_SECONDS = 10.0
MOST_LOOPS = 2**20
WHOLE = "whole"

Lap = Callable[[str], None]
Seconds = Dict[str, float]


class _Taken(NamedTuple):
    """One trial or warm-up: `loops` calls that took `seconds`, as a whole and by lap."""

    loops: int
    seconds: Seconds

    def a_call(self, lap: str) -> float:
        return self.seconds.get(lap, 0.0) / self.loops


class Timer:
    """Takes the timed series of one check.

    Its parameters `trials`, `trial_seconds` and `cooldown_seconds` say how.  `synchronize` waits for the
    device; without it, it is the probe's accelerator that is waited for.
    """

    def __init__(self, probe: Probe, synchronize: Optional[Callable[[], None]] = None) -> None:
        self._probe = probe
        self._synchronize = synchronize or probe.accelerator.synchronize
        self._trials: int = probe.parameters["trials"]
        self._trial_seconds: float = probe.parameters["trial_seconds"]
        self._cooldown_seconds: float = probe.parameters["cooldown_seconds"]
        self._busy_seconds = 0.0

    def case(self, name: str, **parameters: Any) -> Case:
        """The next case, after a pause; its fact `order` says the how many-th it is."""
        time.sleep(min(self._busy_seconds, self._cooldown_seconds))
        self._busy_seconds = 0.0
        case = self._probe.case(name, **parameters)
        case.fact("order", len(self._probe.case_statuses) + 1)
        return case

    def time(self, action: Callable[[], object], *, prepare: Optional[Callable[[], object]] = None) -> Series:
        """Time calls of `action`.

        `prepare` runs before each call, off the clock, and a trial is then one call.
        """
        return self.time_laps(lambda _: action(), prepare=prepare)[WHOLE]

    def time_laps(
        self, action: Callable[[Lap], object], *, prepare: Optional[Callable[[], object]] = None
    ) -> Dict[str, Series]:
        """As `time`, for an action that calls `lap(name)` as each of its phases ends.

        The series are those of the phases by name, and "whole" for the call.  The device is waited for at the
        end of every phase.
        """
        started = time.perf_counter()
        warmups, loops, is_warm = self._warm_up(action, prepare)
        trials = [self._take(action, prepare, loops) for _ in range(self._trials)]
        self._busy_seconds += time.perf_counter() - started
        return {
            lap: Series(
                seconds=tuple(each.a_call(lap) for each in trials),
                warmups=tuple(each.a_call(lap) for each in warmups if each.a_call(lap)),
                loops=loops,
                is_warm=is_warm,
            )
            for lap in trials[0].seconds
        }

    def _warm_up(
        self, action: Callable[[Lap], object], prepare: Optional[Callable[[], object]]
    ) -> "tuple[List[_Taken], int, bool]":
        """What was taken, the loops found, and whether the last warm-ups were settled."""
        loops = 1
        taken: List[_Taken] = []
        alike: List[float] = []
        deadline = time.perf_counter() + WARMUP_SECONDS
        while len(taken) < MOST_WARMUPS and time.perf_counter() < deadline:
            taken.append(self._take(action, prepare, loops))
            if taken[-1].seconds[WHOLE] < self._trial_seconds and prepare is None and loops < MOST_LOOPS:
                loops, alike = 2 * loops, []
                continue
            alike.append(taken[-1].a_call(WHOLE))
            if settled(alike):
                return taken, loops, True
        return taken, loops, False

    def _take(
        self, action: Callable[[Lap], object], prepare: Optional[Callable[[], object]], loops: int
    ) -> _Taken:
        if prepare is not None:
            prepare()
        self._synchronize()
        laps: Seconds = {}
        start = previous = time.perf_counter()

        def lap(name: str) -> None:
            nonlocal previous
            self._synchronize()
            now = time.perf_counter()
            laps[name] = laps.get(name, 0.0) + now - previous
            previous = now

        for _ in range(loops):
            action(lap)
        self._synchronize()
        seconds = {WHOLE: time.perf_counter() - start, **laps}
        if min(seconds.values()) <= 0:
            raise ValueError("a trial took no time: the clock does not tell its start from its end")
        return _Taken(loops, seconds)
