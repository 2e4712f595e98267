"""One run of the simulated suite on one virtual Mac, as the records of it."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv import __version__
from llmenv.fleet.v1 import record_pb2, result_pb2, run_pb2

from llmenv_agent import record_size
from llmenv_agent.disturbance import withhold
from llmenv_agent.simulation.ids import seeded_id
from llmenv_agent.simulation.packages import MACOS, SYSTEMS
from llmenv_agent.simulation.results import Scene, play
from llmenv_agent.simulation.suite import BY_NAME, simulated_suite
from llmenv_agent.verdict import spoken
from llmenv_agent.work import as_record

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator, Mapping

    from google.protobuf.message import Message
    from llmenv.fleet.v1 import environment_pb2, machine_pb2

    from llmenv_agent.definitions import Definition
    from llmenv_agent.simulation.circumstances import Circumstances
    from llmenv_agent.simulation.machines import VirtualMachine
    from llmenv_agent.simulation.plan import Plan
    from llmenv_agent.simulation.suite import Asked
    from llmenv_agent.simulation.workloads import PlayedCheck, Requirement

_GPU_USED = "Another process used the GPU meanwhile: {program}, {percent:.0f} % of the time."
_START_SECONDS = 0.15  # of an interpreter


@dataclass(kw_only=True)
class PlayedRun:
    """A clock that begins at `begins_at` and that each check advances by what it takes."""

    plan: Plan
    machine: VirtualMachine
    versions: Mapping[str, str]
    environment: environment_pb2.Environment
    circumstances: Circumstances
    speeds: Mapping[tuple[str, str], float]
    day: float
    begins_at: dt.datetime
    draw: random.Random

    def __post_init__(self) -> None:
        self._now = self.begins_at
        self._suite = simulated_suite()
        self._run_id = seeded_id(self.draw, self._now)
        self._facts = self.machine.facts(SYSTEMS[self.versions[MACOS]])
        self._facts.machine_id = self.machine.id
        self._scene = Scene(
            variant=self.machine.model.variant,
            versions={each.name: each.version for each in self.environment.packages},
            speeds=self.speeds,
            circumstances=self.circumstances,
            noise=self.plan.noise,
            draw=self.draw,
        )

    def snapshot(self) -> record_pb2.EnvironmentSnapshot:
        return record_pb2.EnvironmentSnapshot(machine=self._facts, environment=self.environment)

    def record(self, record: record_pb2.Record) -> record_pb2.Record:
        """Stamped as the spool would, at this moment of the history."""
        record.record_id = seeded_id(self.draw, self._now)
        record.machine_id = self.machine.id
        record.measured_at.FromDatetime(self._now)
        return record

    def records(self) -> Iterator[record_pb2.Record]:
        yield self._event(record_pb2.RunStarted(run=self._run()))
        for asked in self._suite.asked:
            yield from self._check(asked)
        finished = record_pb2.RunFinished(
            run_id=self._run_id,
            outcome=run_pb2.RUN_OUTCOME_COMPLETED,
            wall_seconds=(self._now - self.begins_at).total_seconds(),
        )
        finished.ended_at.FromDatetime(self._now)
        yield self._event(finished)

    def _run(self) -> run_pb2.Run:
        run = run_pb2.Run(
            run_id=self._run_id,
            suite=self._suite.name,
            suite_version=self._suite.version,
            trigger=run_pb2.TRIGGER_SCHEDULE,
            machine=self._facts,
            environment=self.environment,
            device="mps",
            planned_checks=[asked.definition.name for asked in self._suite.asked],
            agent_version=__version__,
        )
        run.started_at.FromDatetime(self._now)
        return run

    def _check(self, asked: Asked) -> Iterator[record_pb2.Record]:
        definition = asked.definition
        result_id = seeded_id(self.draw, self._now)
        yield self._event(
            record_pb2.CheckStarted(
                run_id=self._run_id,
                result_id=result_id,
                check_name=definition.name,
                timeout_seconds=asked.timeout_seconds,
            )
        )
        result = self._played(BY_NAME[definition.name])
        result.result_id = result_id
        result.definition_hash = self._definition_hash(definition)
        result.parameters_json = asked.parameters_json
        self._withhold_at_times(result)
        yield self._event(record_size.split(self._run_id, result).finished)

    def _played(self, check: PlayedCheck) -> result_pb2.Result:
        """With times and conditions; the clock stands at its end afterwards."""
        failed, remedy_id = self._failed(check)
        result = play(check, self._scene, failed)
        result.remedy_id = remedy_id or result.remedy_id
        result.started_at.FromDatetime(self._now)
        is_warm = self._now > self.begins_at
        result.conditions_before.CopyFrom(self._conditions(is_warm=is_warm))
        result.import_seconds = check.import_seconds * self.draw.uniform(0.95, 1.1)
        result.run_seconds = check.run_seconds * self.draw.uniform(0.95, 1.1)
        result.wall_seconds = result.import_seconds + result.run_seconds + _START_SECONDS
        self._now += dt.timedelta(seconds=result.wall_seconds)
        result.conditions_after.CopyFrom(self._conditions(is_warm=True))
        return result

    def _conditions(self, *, is_warm: bool) -> machine_pb2.Conditions:
        return self.circumstances.conditions(self.machine, day=self.day, is_warm=is_warm, draw=self.draw)

    def _failed(self, check: PlayedCheck) -> tuple[Requirement | None, str]:
        """What is not met here, with the remedy."""
        for failing in self.plan.failing:
            is_here = not failing.chips or self.machine.model.chip in failing.chips
            if failing.check == check.name and is_here and self.versions[failing.package] in failing.versions:
                return check.requirement(failing.requirement), failing.remedy_id
        for flaky in self.plan.flaky:
            is_here = flaky.machine == self.machine.index and flaky.check == check.name
            if is_here and self.draw.random() < flaky.share:
                return check.requirement(flaky.requirement), ""
        return None, ""

    def _definition_hash(self, definition: Definition) -> str:
        """Of this version of the agent, or one made up for the time before a check was defined anew."""
        for redefinition in self.plan.redefinitions:
            if redefinition.check == definition.name and self.day < redefinition.day:
                return hashlib.sha256(f"before {definition.definition_hash}".encode()).hexdigest()[:16]
        return definition.definition_hash

    def _withhold_at_times(self, result: result_pb2.Result) -> None:
        if self.draw.random() < self.plan.withheld_share:
            percent = self.draw.uniform(15, 70)
            withhold(result, spoken(_GPU_USED, program="WindowServer", percent=percent))

    def _event(self, message: Message) -> record_pb2.Record:
        return self.record(as_record(message))
