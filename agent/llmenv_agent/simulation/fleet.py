"""A fleet of virtual Macs: its machines, their records, and what is true of them.

fleet = Fleet(seed=1, machines=10, days=60, plan=Plan())
for machine in fleet.machines:
    for record in fleet.records(machine):
        ...
"""

from __future__ import annotations

import copy
import datetime as dt
import functools
from typing import TYPE_CHECKING

from llmenv_agent.simulation.copied_history import CopiedHistory
from llmenv_agent.simulation.history import History
from llmenv_agent.simulation.machines import draw_machines
from llmenv_agent.simulation.packages import draw_upgrades
from llmenv_agent.simulation.plan import Plan, typical_plan
from llmenv_agent.simulation.telling import tell

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.fleet.v1 import record_pb2

    from llmenv_agent.simulation.machines import VirtualMachine
    from llmenv_agent.simulation.packages import Upgrade
    from llmenv_agent.simulation.truth import Truth

BEGINNING = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Fleet:
    """The same arguments give the same fleet. Without a plan it is a typical one by the seed.

    Where runs are copied (see `copied_history`), of the plan only what says which take place is of use.
    """

    def __init__(
        self,
        *,
        seed: int,
        machines: int,
        days: int,
        plan: Plan | None = None,
        runs_per_day: float = 1.0,
        begins_at: dt.datetime = BEGINNING,
        copies_runs: bool = False,
    ) -> None:
        self.seed = seed
        self.days = days
        self.plan = typical_plan(seed, machines=machines, days=days) if plan is None else plan
        self.runs_per_day = runs_per_day
        self.begins_at = begins_at
        self._history_kind = CopiedHistory if copies_runs else History
        self.machines = draw_machines(seed, machines, enrolled_at=begins_at)

    def records(self, machine: VirtualMachine) -> Iterator[record_pb2.Record]:
        """What its agent spools, oldest first."""
        return self._history(machine).records()

    def upgrades(self, machine: VirtualMachine) -> tuple[Upgrade, ...]:
        """When its packages and its system change, oldest first."""
        return draw_upgrades(self.seed, machine.index, days=self.days) if self.plan.upgrades else ()

    def under_ids(self, machines: Sequence[VirtualMachine]) -> Fleet:
        """The same fleet, whose machines have the ids that a collector issued them."""
        fleet = copy.copy(self)
        fleet.machines = tuple(machines)
        return fleet

    @functools.cached_property
    def truth(self) -> Truth:
        return tell(self)

    def _history(self, machine: VirtualMachine) -> History:
        return self._history_kind(
            plan=self.plan,
            machine=machine,
            upgrades=self.upgrades(machine),
            seed=self.seed,
            begins_at=self.begins_at,
            days=self.days,
            runs_per_day=self.runs_per_day,
        )
