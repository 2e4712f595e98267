"""The same runs for every system: those of a simulated fleet, as records and as the figures in them."""

from __future__ import annotations

import datetime as dt
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from llmenv.fleet.v1 import record_pb2
    from llmenv_agent.simulation.fleet import Fleet

PACKAGES = ("torch", "transformers", "mlx")
ASKED_CHECK, ASKED_NAME = "bench_generation", "decode_rate"
Answer = dict[tuple[str, str], float]
"""Median by chip and version of torch."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A measurement without its raw trials; `case` is "" where the whole check measured it."""

    check: str
    case: str
    name: str
    unit: str
    value: float


@dataclass(frozen=True, kw_only=True)
class Run:
    """What peers are given, and beside it what an agent sends of the same run."""

    run_id: str
    machine: str
    chip: str
    gpu_cores: int
    os_version: str
    versions: Mapping[str, str]
    """Of PACKAGES."""
    started_at: dt.datetime
    figures: Sequence[Figure]
    records: Sequence[bytes]
    """Serialised, with the environment that was described before the run."""

    @property
    def started_ms(self) -> int:
        return round(self.started_at.timestamp() * 1000)

    def labels(self) -> dict[str, str]:
        """What the run has in common for all its figures."""
        return {
            "machine": self.machine,
            "chip": self.chip,
            "gpu_cores": str(self.gpu_cores),
            "os_version": self.os_version,
            **self.versions,
        }


def histories(fleet: Fleet) -> list[list[Run]]:
    """Of each machine, oldest first."""
    return [list(runs_of(fleet.records(machine))) for machine in fleet.machines]


def runs_of(records: Iterable[record_pb2.Record]) -> Iterator[Run]:
    """Of one machine."""
    of_run: list[record_pb2.Record] = []
    for record in records:
        of_run.append(record)
        if record.HasField("run_finished"):
            yield run_of(of_run)
            of_run = []


def run_of(records: Sequence[record_pb2.Record]) -> Run:
    run = next(record.run_started.run for record in records if record.HasField("run_started"))
    packages = {package.name: package.version for package in run.environment.packages}
    return Run(
        run_id=run.run_id,
        machine=run.machine.hostname,
        chip=run.machine.chip,
        gpu_cores=run.machine.gpu_cores,
        os_version=run.machine.os_version,
        versions={name: packages[name] for name in PACKAGES},
        started_at=run.started_at.ToDatetime(tzinfo=dt.UTC),
        figures=[figure for record in records for figure in figures_of(record)],
        records=[record.SerializeToString() for record in records],
    )


def figures_of(record: record_pb2.Record) -> Iterator[Figure]:
    result = record.check_finished.result
    for case, measurements in [("", result.measurements), *((c.name, c.measurements) for c in result.cases)]:
        for one in measurements:
            yield Figure(check=result.check_name, case=case, name=one.name, unit=one.unit, value=one.value)


def expected_answer(runs: Iterable[Run], *, since: dt.datetime) -> Answer:
    """What every system has to say."""
    values = defaultdict[tuple[str, str], list[float]](list)
    for run in runs:
        if run.started_at >= since:
            values[run.chip, run.versions["torch"]] += [
                figure.value
                for figure in run.figures
                if (figure.check, figure.name) == (ASKED_CHECK, ASKED_NAME)
            ]
    return {key: statistics.median(each) for key, each in values.items() if each}
