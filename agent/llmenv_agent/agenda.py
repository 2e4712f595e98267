"""What the schedule starts next: what is due, on a machine that is idle enough for it.

What has to wait is looked at again every minute. When it starts, or is given up because its next time
has come, a record says how long it waited and what stood in the way at first.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.wait import Wait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmenv.fleet.v1 import record_pb2, result_pb2

    from llmenv_agent.schedule import Due, Schedule
    from llmenv_agent.schedule_settings import ScheduleSettings

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
        """The key of what starts now, if anything does. Looks at the machine, so it may take a second."""
        due = self._schedule.due()
        for each in due:
            self._give_up_what_was_overtaken(each)
        objection = None if all(each.regardless_of_use for each in due) else self._objection()
        if objection is not None:
            for each in due:
                self._let_wait(each, objection)
        startable = (each.key for each in due if objection is None or each.regardless_of_use)
        if (key := next(startable, None)) is not None:
            self.start(key)
        return key

    def use(self, settings: Iterable[ScheduleSettings]) -> None:
        """Other settings: what waits goes on waiting where it is due by these too."""
        self._schedule.use(settings)
        still_due = {each.key: each for each in self._schedule.due()}
        for key in self._waits.keys() - still_due.keys():
            self._tell(self._waits.pop(key)[1].ended(is_given_up=True))
        self._waits = {key: (still_due[key], wait) for key, (_, wait) in self._waits.items()}

    def seconds_to_next(self) -> float:
        """Until something becomes due; what waits is not counted."""
        return self._schedule.seconds_to_next()

    def start(self, key: str) -> None:
        """It starts now, whether it is due or not."""
        self._schedule.note_start(key)
        if key in self._waits:
            self._tell(self._waits.pop(key)[1].ended())

    def _let_wait(self, due: Due, objection: result_pb2.Sentence) -> None:
        if due.key not in self._waits and not due.regardless_of_use:
            log.info("%s waits: %s", due.words, objection.text)
            wait = Wait(
                due.suite,
                due_at=due.since,
                reason=objection,
                schedule_name=due.name,
                clocks=self._clocks,
            )
            self._waits[due.key] = due, wait

    def _give_up_what_was_overtaken(self, due: Due) -> None:
        if due.key in self._waits and self._waits[due.key][0] != due:
            log.warning("%s was given up: its next time has come", due.words)
            self._tell(self._waits.pop(due.key)[1].ended(is_given_up=True))
