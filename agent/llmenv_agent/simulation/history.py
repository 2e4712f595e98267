"""Everything that one virtual Mac's agent spools, in order, with the times of the history."""

from __future__ import annotations

import datetime as dt
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

from llmenv_agent.simulation.circumstances import draw_circumstances
from llmenv_agent.simulation.packages import environment_of, versions_on
from llmenv_agent.simulation.played_run import PlayedRun
from llmenv_agent.simulation.speeds import Speeds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_agent.simulation.effects import Throttling
    from llmenv_agent.simulation.machines import VirtualMachine
    from llmenv_agent.simulation.packages import Upgrade
    from llmenv_agent.simulation.plan import Plan


@dataclass(frozen=True, kw_only=True)
class History:
    """One machine's. `records` may be asked anew and gives the same again."""

    plan: Plan
    machine: VirtualMachine
    upgrades: tuple[Upgrade, ...]
    seed: int
    begins_at: dt.datetime
    days: int
    runs_per_day: float

    def records(self) -> Iterator[record_pb2.Record]:
        """Oldest first; record id, time and machine are set."""
        draw = random.Random(f"{self.seed}/history/{self.machine.index}")  # noqa: S311 # plays, protects nothing
        speeds = Speeds(self.plan, self.machine, seed=self.seed)
        throttling = self._throttling()
        last: record_pb2.EnvironmentSnapshot | None = None
        for day in self._days(draw):
            circumstances = draw_circumstances(self.plan, self.machine, throttling, draw)
            versions = versions_on(self.upgrades, day)
            run = PlayedRun(
                plan=self.plan,
                machine=self.machine,
                versions=versions,
                environment=environment_of(versions),
                circumstances=circumstances,
                speeds=speeds.of_run(day, versions, circumstances),
                day=day,
                begins_at=self.begins_at + dt.timedelta(days=day),
                draw=draw,
            )
            snapshot = run.snapshot()
            if snapshot != last:
                last = snapshot
                yield run.record(record_pb2.Record(environment_snapshot=snapshot))
            yield from run.records()

    def _days(self, draw: random.Random) -> Iterator[float]:
        """When runs begin: evenly, at the machine's own hour, some minutes apart from it."""
        own_hour = random.Random(f"{self.seed}/hour/{self.machine.index}").random()  # noqa: S311 # as above
        ends_on = self._ends_on()
        for number in range(int(self.days * self.runs_per_day)):
            minutes = draw.uniform(0, min(20.0, 0.1 * 1440 / self.runs_per_day))
            is_absent = draw.random() < self.plan.absent_share
            day = (number + 0.9 * own_hour) / self.runs_per_day + minutes / 1440
            if day < ends_on and not is_absent:
                yield day

    def _ends_on(self) -> float:
        silences = [each.from_day for each in self.plan.silences if each.machine == self.machine.index]
        return min(silences, default=float(self.days))

    def _throttling(self) -> Throttling | None:
        found = [each for each in self.plan.throttling if each.machine == self.machine.index]
        return found[0] if found else None
