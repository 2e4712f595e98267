"""What the schedule starts next: a suite that is due, on a machine that is idle enough for it.

A suite that has to wait is looked at again every minute. When it starts, or is given up because its next time
has come, a record says how long it waited and what stood in the way at first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.wait import Wait

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv.fleet.v1 import record_pb2, result_pb2

    from llmenv_agent.schedule import Due, Schedule

log = logging.getLogger(__name__)


class Agenda:
    """`objection` says why nothing may start now; `tell` is given the record of each wait that ends."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        objection: Callable[[], result_pb2.Sentence | None],
        tell: Callable[[record_pb2.SuiteWaited], None],
        clocks: Clocks = SYSTEM_CLOCKS,
    ) -> None:
        self._schedule = schedule
        self._objection = objection
        self._tell = tell
        self._clocks = clocks
        self._waits: dict[str, tuple[Due, Wait]] = {}

    def next(self) -> str | None:
        """The suite that starts now, if one does. Looks at the machine, so it may take a second."""
        due = self._schedule.due()
        for each in due:
            self._give_up_what_was_overtaken(each)
        if not due:
            return None
        objection = self._objection()
        if objection is None:
            self.start(due[0].suite)
            return due[0].suite
        for each in due:
            self._let_wait(each, objection)
        return None

    def use(self, schedule: Schedule) -> None:
        """Another schedule: what waits goes on waiting where it is due by this one too."""
        self._schedule = schedule
        still_due = {each.suite: each for each in schedule.due()}
        for suite in self._waits.keys() - still_due.keys():
            self._tell(self._waits.pop(suite)[1].ended(is_given_up=True))
        self._waits = {suite: (still_due[suite], wait) for suite, (_, wait) in self._waits.items()}

    def seconds_to_next(self) -> float:
        """Until a suite becomes due; what waits is not counted."""
        return self._schedule.seconds_to_next()

    def start(self, suite: str) -> None:
        """The suite starts now, whether it is due or not."""
        self._schedule.note_start(suite)
        if suite in self._waits:
            self._tell(self._waits.pop(suite)[1].ended())

    def _let_wait(self, due: Due, objection: result_pb2.Sentence) -> None:
        if due.suite not in self._waits:
            log.info("suite %s waits: %s", due.suite, objection.text)
            wait = Wait(due.suite, due_at=due.since, reason=objection, clocks=self._clocks)
            self._waits[due.suite] = due, wait

    def _give_up_what_was_overtaken(self, due: Due) -> None:
        if due.suite in self._waits and self._waits[due.suite][0] != due:
            log.warning("suite %s was given up: its next time has come", due.suite)
            self._tell(self._waits.pop(due.suite)[1].ended(is_given_up=True))
