"""How long a suite waited for an idle machine, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

from llmenv_agent.clocks import SYSTEM_CLOCKS, Clocks, Span

if TYPE_CHECKING:
    from llmenv.fleet.v1 import result_pb2


class Wait:
    """Begins now; `due_at` is Unix seconds and `reason` what stands in the way."""

    def __init__(
        self,
        suite: str,
        *,
        due_at: float,
        reason: result_pb2.Sentence,
        schedule_name: str = "",
        clocks: Clocks = SYSTEM_CLOCKS,
    ) -> None:
        self._suite = suite
        self._schedule_name = schedule_name
        self._reason = reason
        self._span = Span(clocks)
        self._due_at = due_at

    @property
    def seconds(self) -> float:
        """Awake."""
        return self._span.awake_seconds()

    def ended(self, *, is_given_up: bool = False) -> record_pb2.SuiteWaited:
        waited = record_pb2.SuiteWaited(
            suite=self._suite,
            waited_seconds=self.seconds,
            reason=self._reason,
            is_given_up=is_given_up,
            schedule_name=self._schedule_name,
        )
        waited.due_at.FromMicroseconds(int(self._due_at * 1e6))
        return waited
