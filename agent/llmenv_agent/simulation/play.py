"""What is asked of a simulation, the same in each of its processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_agent.simulation.copied_history import STILL
from llmenv_agent.simulation.fleet import Fleet
from llmenv_agent.simulation.plan import Plan

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from llmenv_agent.simulation.outages import Outage


@dataclass(frozen=True, kw_only=True)
class Play:
    """Times are seconds; `rate` is as of `pace.parse_rate`."""

    seed: int
    machines: int
    days: int
    runs_per_day: float
    begins_at: dt.datetime
    is_plain: bool
    copies_runs: bool
    state_dir: Path
    on_disk: bool
    rate: float | None
    duration: float | None
    """None: until the history ends."""
    is_backlog: bool
    """Everything is spooled before anybody connects."""
    a_run_a_message: bool
    connects_over: float
    """The machines connect one after the other for as long."""
    deliver_within: float
    """For what waits at the end."""
    asks: bool
    """The collector, in the end, what it holds."""
    outages: tuple[Outage, ...] = ()

    def fleet(self) -> Fleet:
        return Fleet(
            seed=self.seed,
            machines=self.machines,
            days=self.days,
            runs_per_day=self.runs_per_day,
            plan=self._plan(),
            begins_at=self.begins_at,
            copies_runs=self.copies_runs,
        )

    def _plan(self) -> Plan | None:
        if self.copies_runs:
            return STILL
        return Plan() if self.is_plain else None
