"""Whether a check of a run may begin: it is not in quarantine, and the machine is idle enough.

A run that is under way when somebody begins to train waits; when that takes too long, the rest of it is left
out, each check with the reason.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks
from llmenv_agent.verdict import spoken
from llmenv_agent.wait import Wait

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from llmenv.fleet.v1 import record_pb2, result_pb2

    from llmenv_agent.quarantine import Quarantine, Subject

    Change: TypeAlias = record_pb2.QuarantineChange | record_pb2.SuiteWaited

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 1_800.0
LOOK_AGAIN_SECONDS = 60.0


@dataclass(kw_only=True)
class Admission:
    """Of the checks of one run, in a target.

    `subject` gives a check of the run in its versions. `is_by_name`: the checks were asked for by their
    names, and who asks so gets them. `objection` says why the machine is not idle enough.
    """

    suite: str
    subject: Callable[[str], Subject]
    quarantine: Quarantine
    is_by_name: bool
    objection: Callable[[], result_pb2.Sentence | None]
    tell: Callable[[Change], None]
    cancelled: threading.Event
    clocks: Clocks = SYSTEM_CLOCKS
    patience_seconds: float = PATIENCE_SECONDS
    look_again_seconds: float = LOOK_AGAIN_SECONDS
    _has_given_up: bool = field(default=False, init=False)

    def reason_against(self, check: str) -> result_pb2.Sentence | None:
        """Why the check is left out; None when it may begin, or the run was cancelled. May wait long."""
        subject = self.subject(check)
        self._tell(self.quarantine.release(subject))
        if not self.is_by_name and (reason := self.quarantine.left_out(subject)) is not None:
            return reason
        return self._wait_until_idle()

    def note_end(self, check: str, status: result_pb2.Status.ValueType) -> None:
        self._tell(self.quarantine.note(self.subject(check), status))

    def _wait_until_idle(self) -> result_pb2.Sentence | None:
        reason = self.objection()
        if reason is None:
            return None
        wait = Wait(self.suite, due_at=self.clocks.wall(), reason=reason, clocks=self.clocks)
        log.info("the run of %s waits: %s", self.suite, reason.text)
        while not self._has_given_up and not self.cancelled.wait(self.look_again_seconds):
            reason = self.objection()
            if reason is None:
                self.tell(wait.ended())
                return None
            if wait.seconds >= self.patience_seconds:
                self._has_given_up = True
                self.tell(wait.ended(is_given_up=True))
        if self.cancelled.is_set():
            return None
        return spoken("Not run, since the machine was in use: {reason}", reason=reason.text)

    def _tell(self, change: record_pb2.QuarantineChange | None) -> None:
        if change is not None:
            verb = "left out" if change.is_quarantined else "let in again"
            log.warning(
                "%s in %s is %s: %s", change.check_name, change.environment_name, verb, change.reason.text
            )
            self.tell(change)
