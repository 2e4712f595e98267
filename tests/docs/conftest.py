"""The generator of the pages, and a store with real runs and one row of whatever else happens."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from llmenv.fleet.v1 import agent_service_pb2, fleet_service_pb2, record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_collector import clock
from llmenv_collector.acknowledgements import store as acknowledgement_store
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.fleet_commands import store as command_store
from llmenv_collector.imports import measurement_file
from llmenv_collector.imports import store as import_store
from llmenv_collector.schedules import copy as schedule_copy
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
RUNS = REPOSITORY / "tests" / "cli" / "runs"
END_OF_2026 = 1_798_700_000_000_000
SCHEDULE_ID = "019c6120-0000-7000-8000-00000000005c"
# As change_store keeps it: a rate that fell by a tenth.
SLOWER = """
INSERT INTO store.change_point BY NAME
SELECT $machine::UUID AS machine_id, 'train' AS environment_name, 'mps' AS device,
       'torch_training' AS check_name, '{}' AS parameters_json, '' AS case_name,
       'steps_per_second' AS measurement, 'step/s' AS unit, 1 AS direction, 'd1' AS definition_hash,
       now() AS changed_at, false AS is_suspected, 10 AS points, 20.0 AS median_before, 18.0 AS median_after,
       0.89 AS ratio_low, 0.91 AS ratio_high, 0.001 AS p_value, uuid() AS from_result_id,
       uuid() AS to_result_id
"""
# As audit_copy adds it: a machine that was taken out of service.
DECIDED = """
INSERT INTO store.audit VALUES (
  1, now(), 'machine.retire', $machine, 'm2-ultra', 'user ada', 'this computer', 'done')
"""
# A check that fails, is in a notice that could not be sent, and is muted since; and a report that was made.
TOLD = """
INSERT INTO store.state_change VALUES (
  uuid(), 'check_failing', $machine::UUID, 'train', 'mps', 'packages', '', now(), 7, 'fail', 'pass',
  '{name} is missing.', '', ''::BLOB, '{}', now(), 'told', NULL, $notice::UUID, 1);
INSERT INTO store.notice VALUES ($notice::UUID, 'check_failing', 'packages', now(), 1, '', NULL);
INSERT INTO store.notice_delivery VALUES ($notice::UUID, 'lab', 'waiting', 1, now(), now(), 'status 500');
INSERT INTO store.notice_mute VALUES (
  uuid(), [], 'packages', '', 'It is known.', now(), 'laptop', now() + INTERVAL 1 DAY, NULL, NULL);
INSERT INTO store.scheduled_report VALUES ('weekly', now(), now(), true, '/srv/reports/weekly.html');
INSERT INTO store.retention VALUES ('trials', 7776000, now() - INTERVAL 90 DAY, 0, now());
"""


@pytest.fixture(scope="session")
def docs() -> Path:
    return DOCS


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """docs/generate.py, which is a program and no package."""
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store as `serve` leaves it when it ends."""
    path = tmp_path_factory.mktemp("store") / "llmenv.duckdb"
    store = Store(path)
    names = ("not_ready", "ready_m2_ultra")
    texts = [(RUNS / f"{name}.json").read_text("utf-8") for name in names]
    runs = [json_format.Parse(text, run_pb2.Run()) for text in texts]
    machine_id = runs[0].machine.machine_id
    store.see(Sighting(machine_id, seen_at=1, enrolled_at=1)).result()
    records = [
        *(record for run in runs for record in records_of(run)),
        record(runs[0], suite_waited={"suite": "bench", "waited_seconds": 60.0, "is_given_up": True}),
        record(runs[0], quarantine_change={"check_name": "torch_ops", "is_quarantined": True}),
        record(runs[0], schedule_change=example_change()),
    ]
    unknown_run = record_pb2.Record(
        record_id=new_id(), machine_id=machine_id, check_started={"run_id": "none"}
    )
    spool_id = new_id()
    arrivals = [
        Arrival(spool_id, machine_id, 1, sequence, record.SerializeToString(), received_at=sequence)
        for sequence, record in enumerate([*records, unknown_run], start=1)
    ]
    batch = command_store.Batch(
        batch_id=new_id(),
        machine_ids=[machine_id],
        run_checks=agent_service_pb2.RunChecks(suite="quick"),
        issued_at=clock.now(),
        issued_by="laptop",
        expires_at=clock.now() + 86_400 * clock.MICROSECONDS,
    )
    note = acknowledgement_store.Note(
        acknowledgement_id=new_id(),
        check_name="packages",
        statuses=["fail"],
        cause="{name} is missing.",
        finding=result_pb2.Sentence(text="mlx is missing."),
        reason="It is installed with the next image.",
        acknowledged_at=clock.now(),
        acknowledged_by="laptop",
        expires_at=clock.now() + 86_400 * clock.MICROSECONDS,
    )
    store.request(lambda connection: command_store.issue(connection, batch)).result()
    store.request(lambda connection: acknowledgement_store.add(connection, note)).result()
    store.request(lambda connection: import_store.add(connection, example_import())).result()
    store.request(lambda connection: schedule_copy.replace(connection, [example_schedule()])).result()
    store.request(lambda connection: connection.execute(SLOWER, {"machine": machine_id})).result()
    store.request(lambda connection: connection.execute(DECIDED, {"machine": machine_id})).result()
    store.request(lambda connection: tell(connection, machine_id)).result()
    delivered = store.deliver(arrivals).result()
    assert [one.sequence for one in delivered.rejections] == [len(arrivals)]
    store.close()
    return path


def example_schedule() -> schedule_copy.StoredSchedule:
    """The quick suite on every machine, each night."""
    return schedule_copy.StoredSchedule(
        schedule=agent_service_pb2.Schedule(
            schedule_id=SCHEDULE_ID, name="nightly", at="0 3 * * *", run_checks={"suite": "quick"}
        ),
        selection=fleet_service_pb2.MachineSelection(all=True),
        set_at=clock.now(),
        set_by="laptop",
    )


def example_change() -> record_pb2.ScheduleChange:
    """The machine has its own times for that suite."""
    return record_pb2.ScheduleChange(
        schedule_id=SCHEDULE_ID,
        schedule_name="nightly",
        state=record_pb2.ScheduleChange.STATE_SET_ASIDE,
        reason="agent.toml has [schedule.quick]",
    )


def tell(connection: Any, machine_id: str) -> None:
    notice_id = new_id()
    for statement in TOLD.split(";\n"):
        known = {"machine": machine_id, "notice": notice_id}
        connection.execute(statement, {key: known[key] for key in known if f"${key}" in statement})


def example_import() -> import_store.ImportedFile:
    """The example of docs/import.md, of which every row is good."""
    content, name = (DOCS / "import-example.csv").read_bytes(), "import-example.csv"
    rows = measurement_file.read_file(content, file_name=name, now=END_OF_2026)
    assert rows.refusals == ()
    return import_store.ImportedFile(
        import_id=new_id(),
        source="public",
        file_name=name,
        content_hash="",
        rows=rows.good,
        refused_rows=0,
        imported_at=clock.now(),
        imported_by="laptop",
    )


def records_of(run: run_pb2.Run) -> Iterator[record_pb2.Record]:
    """As an agent spools them."""
    begun = run_pb2.Run()
    begun.CopyFrom(run)
    for field in ("results", "ended_at", "wall_seconds", "outcome"):
        begun.ClearField(field)
    yield record(run, run_started={"run": begun})
    for result in run.results:
        yield record(run, check_finished={"run_id": run.run_id, "result": result})
    finished = {"run_id": run.run_id, "outcome": run.outcome, "wall_seconds": run.wall_seconds}
    yield record(run, run_finished={**finished, "ended_at": run.ended_at})


def record(run: run_pb2.Run, **kind: Any) -> record_pb2.Record:
    made = record_pb2.Record(record_id=new_id(), machine_id=run.machine.machine_id, **kind)
    made.measured_at.CopyFrom(run.started_at)
    return made
