"""A collector finds changed measurements in the background, and goes on with it after a restart."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from llmenv.fleet.v1 import fleet_report_pb2, record_pb2, result_pb2, run_pb2
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id

from .conftest import PATIENCE_SECONDS, RunningCollector

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FIRST_DAY = 20_000


def stepped(days: int, step_at: int, *, seed: int = 1) -> list[float]:
    rng = np.random.default_rng(seed)
    return [float(10 * (1.1 if day >= step_at else 1.0) * np.exp(rng.normal(0, 0.01))) for day in range(days)]


def deliver_history(collector: RunningCollector, values: list[float]) -> None:
    machine = collector.enrol()
    records = []
    for day, value in enumerate(values):
        run = run_pb2.Run(run_id=new_id(), device="mps", suite="bench")
        run.machine.machine_id = machine.machine_id
        run.environment.name = "train"
        run.started_at.FromSeconds((FIRST_DAY + day) * 86_400)
        result = result_pb2.Result(
            result_id=new_id(), check_name="torch_training", device="mps", status=result_pb2.STATUS_PASS
        )
        result.measurements.add(name="steps_per_second", unit="step/s", value=value, direction=1)
        records.append(machine.record(run_started=record_pb2.RunStarted(run=run)))
        records.append(
            machine.record(check_finished=record_pb2.CheckFinished(run_id=run.run_id, result=result))
        )
    stream = machine.connect(new_id())
    stream.deliver(records, first=1)
    while stream.receive("acknowledged").watermark < len(records):
        pass
    stream.close()


def test_a_collector_keeps_changes_up_to_date_and_a_restart_continues(tmp_path: Path) -> None:
    """Delivered over the wire, found in the background, and ended in order."""
    collector = RunningCollector(tmp_path / "data", "--changes-seconds", "0.2")
    try:
        deliver_history(collector, stepped(40, 20))
        report = wait_for(collector, lambda report: any(row.points > 10 for row in report.changes))
        analysed_at = report.method.changes_analysed_at.ToNanoseconds()
        assert collector.stop() == 0
        assert analysed(collector) == 1
        collector.start()
        deliver_history(collector, stepped(40, 99, seed=2))
        report = wait_for(
            collector, lambda report: report.method.changes_analysed_at.ToNanoseconds() > analysed_at
        )
        assert [row.points for row in report.changes if not row.is_suspected] == [20]
        assert collector.stop() == 0
        assert analysed(collector) == 2
    finally:
        collector.stop()


def analysed(collector: RunningCollector) -> int:
    """Histories of the stopped collector."""
    with collector.database() as connection:
        rows = connection.execute("SELECT count(*) FROM store.change_history").fetchall()
    return int(rows[0][0])


def wait_for(collector: RunningCollector, is_so: Callable[[Any], bool]) -> Any:
    """The first report of which it is so; patience is for a busy machine."""
    metadata = [("authorization", f"Bearer {collector.secret('--role', 'viewer')}")]
    deadline = time.monotonic() + 4 * PATIENCE_SECONDS
    request = fleet_report_pb2.GetFleetReportRequest()
    request.since.FromSeconds(0)
    with collector.people_channel() as channel:
        while not is_so(report := FleetServiceStub(channel).GetFleetReport(request, metadata=metadata)):
            assert time.monotonic() < deadline, collector.log
            time.sleep(0.2)
    return report
