"""A history whose runs are copies of a few that were drawn: a fifth of the work, for tests of load.

Each copy has ids, times and figures of its own: what is drawn in a run is faster or slower by up to 2 %, with
its trials. Sentences and conditions are those of the run that is copied. Nothing is planted in it.
"""

from __future__ import annotations

import datetime as dt
import functools
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

from llmenv_agent.simulation.history import History
from llmenv_agent.simulation.ids import seeded_id
from llmenv_agent.simulation.machines import VirtualMachine
from llmenv_agent.simulation.plan import Plan
from llmenv_agent.simulation.suite import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.fleet.v1 import result_pb2

    from llmenv_agent.simulation.machines import Model

PATTERNS = 4
"""Runs of each model that are drawn."""
_MOST_OFF = 0.02
STILL = Plan(upgrades=False)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """A record that was drawn: serialised, and how long after its run began it was made."""

    content: bytes
    after: dt.timedelta
    drawn: tuple[tuple[int, int], ...] = ()
    """Figures that differ from run to run: the place of their case, -1 for none, and their own."""


class CopiedHistory(History):
    """One machine's."""

    def records(self) -> Iterator[record_pb2.Record]:
        """Oldest first; record id, time and machine are set."""
        draw = random.Random(f"{self.seed}/copies/{self.machine.index}")  # noqa: S311 # plays, protects nothing
        snapshot, runs = _patterns(self.machine.model, self.seed)
        for number, day in enumerate(self._days(draw)):
            begins_at = self.begins_at + dt.timedelta(days=day)
            patterns = runs[(self.machine.index + number) % len(runs)]
            yield from _Copy(self.machine, begins_at, draw).records(
                [snapshot, *patterns] if number == 0 else patterns
            )


class _Copy:
    """Of one run."""

    def __init__(self, machine: VirtualMachine, begins_at: dt.datetime, draw: random.Random) -> None:
        self._machine = machine
        self._begins_at = begins_at
        self._draw = draw
        self._run_id = seeded_id(draw, begins_at)
        self._result_id = ""

    def records(self, patterns: Sequence[Pattern]) -> Iterator[record_pb2.Record]:
        for pattern in patterns:
            record = record_pb2.Record.FromString(pattern.content)
            moment = self._begins_at + pattern.after
            record.record_id = seeded_id(self._draw, moment)
            record.machine_id = self._machine.id
            record.measured_at.FromDatetime(moment)
            self._adapt(record, moment, pattern)
            yield record

    def _adapt(self, record: record_pb2.Record, moment: dt.datetime, pattern: Pattern) -> None:
        match record.WhichOneof("kind"):
            case "environment_snapshot":
                record.environment_snapshot.machine.hostname = self._machine.hostname
                record.environment_snapshot.machine.machine_id = self._machine.id
            case "run_started":
                run = record.run_started.run
                run.run_id = self._run_id
                run.machine.hostname, run.machine.machine_id = self._machine.hostname, self._machine.id
                run.started_at.FromDatetime(moment)
            case "check_started":
                self._result_id = seeded_id(self._draw, moment)
                record.check_started.run_id = self._run_id
                record.check_started.result_id = self._result_id
            case "check_finished":
                record.check_finished.run_id = self._run_id
                self._adapt_result(record.check_finished.result, moment, pattern)
            case "run_finished":
                record.run_finished.run_id = self._run_id
                record.run_finished.ended_at.FromDatetime(moment)

    def _adapt_result(self, result: result_pb2.Result, moment: dt.datetime, pattern: Pattern) -> None:
        result.result_id = self._result_id
        result.started_at.FromDatetime(moment - dt.timedelta(seconds=result.wall_seconds))
        factor = self._draw.uniform(1 - _MOST_OFF, 1 + _MOST_OFF)
        for case, place in pattern.drawn:
            measurement = (result if case < 0 else result.cases[case]).measurements[place]
            measurement.value *= factor
            if measurement.trials:
                measurement.trials[:] = [each * factor for each in measurement.trials]


@functools.cache
def _patterns(model: Model, seed: int) -> tuple[Pattern, tuple[tuple[Pattern, ...], ...]]:
    """A description of the environment, and runs of a machine of that model which is there for this alone."""
    begins_at = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    history = History(
        plan=Plan(upgrades=False, absent_share=0.0, withheld_share=0.0),
        machine=VirtualMachine(index=0, id="", hostname="", model=model),
        upgrades=(),
        seed=seed,
        begins_at=begins_at,
        days=PATTERNS,
        runs_per_day=1.0,
    )
    snapshot, *records = history.records()
    runs: list[list[Pattern]] = []
    began = begins_at
    for record in records:
        moment = record.measured_at.ToDatetime(tzinfo=dt.UTC)
        if record.HasField("run_started"):
            began = moment
            runs.append([])
        runs[-1].append(
            Pattern(content=record.SerializeToString(), after=moment - began, drawn=_drawn(record))
        )
    description = Pattern(content=snapshot.SerializeToString(), after=dt.timedelta())
    return description, tuple(tuple(run) for run in runs)


def _drawn(record: record_pb2.Record) -> tuple[tuple[int, int], ...]:
    if not record.HasField("check_finished"):
        return ()
    result = record.check_finished.result
    figures = {
        (workload.case, figure.name)
        for workload in BY_NAME[result.check_name].workloads
        for figure in workload.figures
    }
    groups = [
        (-1, "", result.measurements),
        *((n, case.name, case.measurements) for n, case in enumerate(result.cases)),
    ]
    return tuple(
        (case, place)
        for case, name, measurements in groups
        for place, each in enumerate(measurements)
        if (name, each.name) in figures
    )
