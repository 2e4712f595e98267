"""Stores that hold what agents delivered, and the process in which reports are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import machine_pb2, record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.fleet_report import report
from llmenv_collector.fleet_report.analysis import Analysis
from llmenv_collector.fleet_report.period import Period
from llmenv_collector.fleet_report.question import Question
from llmenv_collector.storage.store import Store

from .built_fleet import BuiltFleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WHOLE = Period(since=0, as_of=10**15)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "llmenv.duckdb")
    yield opened
    opened.close()


@pytest.fixture
def fleet(store: Store) -> BuiltFleet:
    """A fleet to be built, which delivers when it is told to."""
    return BuiltFleet(store)


@pytest.fixture(scope="session")
def analysis() -> Iterator[Analysis]:
    opened = Analysis()
    yield opened
    opened.close()


@pytest.fixture
def report_of(store: Store, analysis: Analysis) -> Callable[..., Any]:
    """What is reported of the whole history, or of another period."""

    def ask(period: Period = WHOLE, **question: Any) -> Any:
        with store.reader() as connection:
            return report.fleet_report(connection, period, Question(**question), analysis)

    return ask


class Mac:
    """Delivers runs straight to the store, each received when it started."""

    def __init__(self, store: Store, hostname: str, **facts: Any) -> None:
        self.store, self.spool_id, self.sequence = store, new_id(), 0
        facts = {
            "chip": "Apple M2 Ultra",
            "os_name": "macOS",
            "os_version": "15.3",
            "os_build": "24D60",
        } | facts
        self.machine = machine_pb2.Machine(machine_id=new_id(), hostname=hostname, **facts)
        self.packages = {"torch": "2.13.0"}
        self.environment_name = "train"
        store.see(Sighting(self.machine.machine_id, seen_at=1, enrolled_at=1)).result()

    @property
    def id(self) -> str:
        return self.machine.machine_id

    def run(self, day: float, *results: result_pb2.Result, device: str = "mps") -> run_pb2.Run:
        """One run of these results, so many days after 1970."""
        run = run_pb2.Run(run_id=new_id(), machine=self.machine, device=device, suite="quick", outcome=1)
        run.started_at.FromMicroseconds(int(day * 86_400_000_000))
        run.environment.name = self.environment_name
        for name, version in self.packages.items():
            run.environment.packages.add(name=name, version=version)
        self.deliver(day, run_started={"run": run})
        for each in results:
            each.device = device
            self.deliver(day, check_finished={"run_id": run.run_id, "result": each})
        self.deliver(day, run_finished={"run_id": run.run_id, "outcome": 1})
        return run

    def deliver(self, day: float, **kind: Any) -> None:
        self.sequence += 1
        record = record_pb2.Record(record_id=new_id(), machine_id=self.id, **kind)
        record.measured_at.FromMicroseconds(int(day * 86_400_000_000))
        arrival = Arrival(
            self.spool_id,
            self.id,
            1,
            self.sequence,
            record.SerializeToString(),
            received_at=int(day * 86_400_000_000),
        )
        assert self.store.deliver([arrival]).result().rejections == ()


def result(check_name: str, status: str = "pass", **measured: float) -> result_pb2.Result:
    """Rates in step/s, by name."""
    made = result_pb2.Result(result_id=new_id(), check_name=check_name, definition_hash="d1")
    made.status = result_pb2.Status.Value(f"STATUS_{status.upper()}")
    if status != "pass":
        made.reason.text = made.reason.template = f"{check_name} is {status}."
    for name, value in measured.items():
        made.measurements.add(name=name, unit="step/s", value=value, direction=1)
    return made


@pytest.fixture
def mac(store: Store) -> Callable[..., Mac]:
    return lambda hostname, **facts: Mac(store, hostname, **facts)


@pytest.fixture
def finding() -> Callable[..., result_pb2.Result]:
    return result
