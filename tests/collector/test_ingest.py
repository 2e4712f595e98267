"""Ingest is pure: a record becomes rows or a reason, and nothing else happens."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from llmenv.fleet.v1 import record_pb2, result_pb2, run_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery import acceptance, ingest
from llmenv_collector.delivery.columns import Tables
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.tables import OF_KIND, tables_of
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

MACHINE, SPOOL = new_id(), new_id()
FILLED_LATER: defaultdict[str, set[str]] = defaultdict(set, {"measurement": {"spread"}})
"""Columns that nothing delivered has, by table."""


def arrival(record: bytes, *, sequence: int = 1, revision: int = 1) -> Arrival:
    return Arrival(SPOOL, MACHINE, revision, sequence, record, received_at=1)


def record(**fields: Any) -> record_pb2.Record:
    return record_pb2.Record(**{"record_id": new_id(), "machine_id": MACHINE, **fields})


def started(**fields: Any) -> record_pb2.CheckStarted:
    return record_pb2.CheckStarted(**{"run_id": new_id(), "result_id": new_id(), **fields})


def left_by(reading: ingest.Reading) -> dict[str, pa.Table]:
    return tables_of([reading], most_rows=1_000_000)


def full_records() -> list[record_pb2.Record]:
    """One record of each kind, with every part that leaves a row."""
    result = result_pb2.Result(result_id=new_id(), check_name="mlx_native", status=result_pb2.STATUS_WARN)
    result.measurements.add(name="steps_per_second", unit="step/s", value=2.0, trials=[1.0, 2.0, 3.0])
    result.facts.add(name="weights_source", text="hub")
    result.expectations.add(name="loss_falls", met=True)
    result.cases.add(name="softmax", status=result_pb2.STATUS_PASS)
    result.cases[0].measurements.add(name="relative_error", value=1e-6)
    result.environment_variables["MLX_ENABLE_TF32"] = "1"
    result.remedy_trials.add(
        remedy_id="KI065", environment_variables={"MLX_ENABLE_TF32": "0"}, case_names=["softmax"]
    )
    result.conditions_before.low_power_mode = False
    result.conditions_after.load_1m = 0.5
    run = run_pb2.Run(run_id=new_id(), suite="quick", device="mps")
    run.machine.hostname = "m2-ultra"
    run.environment.packages.add(name="torch", version="2.13.0")
    kinds: list[dict[str, Any]] = [
        {"run_started": {"run": run}},
        {"check_started": started()},
        {"check_finished": {"run_id": run.run_id, "result": result}},
        {"case_batch": {"run_id": run.run_id, "result_id": result.result_id, "cases": [{"name": "matmul"}]}},
        {
            "remedy_tried": {
                "run_id": run.run_id,
                "result_id": result.result_id,
                "trial": {"remedy_id": "KI069", "device": "mps", "status": result_pb2.STATUS_PASS},
            }
        },
        {"run_finished": {"run_id": run.run_id, "outcome": run_pb2.RUN_OUTCOME_COMPLETED}},
        {"environment_snapshot": {"machine": run.machine, "environment": run.environment}},
        {"command_outcome": {"command_id": new_id(), "state": 3}},
        {"suite_waited": {"suite": "quick", "waited_seconds": 60.0, "is_given_up": True}},
        {"schedule_change": {"schedule_id": new_id(), "schedule_name": "nightly", "state": 1}},
        {"quarantine_change": {"check_name": "torch_ops", "is_quarantined": True}},
        {"tombstone": {"first_sequence": 1, "last_sequence": 1, "dropped_records": 1}},
        {"spool_forked": {"previous_spool_id": new_id()}},
    ]
    return [record(**kind) for kind in kinds]


def test_every_kind_of_the_contract_is_ingested() -> None:
    """The kinds covered here and in ingest are exactly those of the contract."""
    contract = {field.name for field in record_pb2.Record.DESCRIPTOR.oneofs_by_name["kind"].fields}
    assert {one.WhichOneof("kind") for one in full_records()} == contract
    assert set(OF_KIND) == contract


def test_rows_have_exactly_the_columns_of_their_tables(tmp_path: Path) -> None:
    """The migrations are the one truth of the columns."""
    connection = migrate.connect(tmp_path / "llmenv.duckdb")
    migrate.migrate(connection)
    schemas = Tables(connection)._schemas
    seen = set()
    for one in full_records():
        reading = ingest.read(arrival(one.SerializeToString()))
        assert reading.reason == ""
        for table, columns in left_by(reading).items():
            seen.add(table)
            assert set(schemas[table].names) - set(columns.column_names) <= FILLED_LATER[table], table
            assert set(columns.column_names) <= set(schemas[table].names), table
    written_elsewhere = {
        "schema_version",
        "watermark",
        "spool_ledger",
        "delivery_day",
        "command",
        "machine_label",
        "machine_name",
        "audit",
        "schedule",
        "acknowledgement",
        "imported_file",
        "imported_measurement",
        "notice",
        "notice_delivery",
        "notice_mute",
        "notice_watch",
        "scheduled_report",
        "state_change",
        "change_history",
        "change_point",
        "record_raw",
        "rejection",
        "retention",
        "machine_sighting",
    }
    assert seen == set(schemas) - written_elsewhere
    connection.close()


UNACCEPTABLE = {
    "not a serialised": b"\xff\xff\xff",
    "record_id is ''": record(record_id="", check_started=started()).SerializeToString(),
    "record_id is 'ABC": record(record_id="ABC", check_started=started()).SerializeToString(),
    "The record is of machine": record(machine_id=new_id(), check_started=started()).SerializeToString(),
    "check_started.run_id is 'x'": record(check_started=started(run_id="x")).SerializeToString(),
    "run_started.run.run_id": record(run_started={}).SerializeToString(),
    "measured_at is outside": record(
        measured_at={"seconds": 10**15}, check_started=started()
    ).SerializeToString(),
    "run.ended_at is outside": record(
        run_started={"run": {"run_id": new_id(), "ended_at": {"nanos": -1}}}
    ).SerializeToString(),
    "at most 1048576 are accepted": b"x" * (1 << 20) + b"x",
    "covers 5 to 4": record(tombstone={"first_sequence": 5, "last_sequence": 4}).SerializeToString(),
}


@pytest.mark.parametrize("sentence", UNACCEPTABLE)
def test_what_can_never_be_accepted_gets_a_sentence(sentence: str) -> None:
    """The reason says what was wrong, and no rows are left."""
    reading = ingest.read(arrival(UNACCEPTABLE[sentence]))
    assert sentence in reading.reason
    assert reading.content == b""


def test_a_reason_is_a_sentence_whatever_it_quotes() -> None:
    """Rejections travel in one message, so what an agent wrote is not repeated whole."""
    for forged in ({"machine_id": "x" * 500_000}, {"record_id": "x" * 500_000}):
        reading = ingest.read(arrival(record(check_started=started(), **forged).SerializeToString()))
        assert 0 < len(reading.reason) + len(reading.record_id) < 300


def test_a_run_that_starts_brings_no_results() -> None:
    """They come as records of their own, each judged by itself."""
    run = run_pb2.Run(run_id=new_id(), suite="quick", results=[{"result_id": "none"}])
    reading = ingest.read(arrival(record(run_started={"run": run}).SerializeToString()))
    kept = run_pb2.Run.FromString(left_by(reading)["run"]["message"][0].as_py())
    assert (kept.suite, len(kept.results)) == ("quick", 0)


def test_a_record_of_empty_rows_is_rejected() -> None:
    """1 MiB can say 500,000 times nothing; its rows would take hundreds of MB."""
    result = result_pb2.Result(result_id=new_id(), measurements=[{}] * (acceptance.MAX_RECORD_ROWS + 1))
    finished = record(check_finished={"run_id": new_id(), "result": result}).SerializeToString()
    assert "more than 65536 rows" in ingest.read(arrival(finished)).reason


def test_an_unknown_kind_is_kept_raw() -> None:
    """A kind that this revision lacks is stored whole, never rejected."""
    newer = record().SerializeToString() + b"\xfa\x06\x03abc"  # field 111, bytes
    reading = ingest.read(arrival(newer))
    assert set(left_by(reading)) == {"record", "record_raw"}
    assert left_by(reading)["record_raw"]["record"][0].as_py() == newer


def test_an_unknown_field_deep_inside_is_kept_raw_beside_what_is_understood() -> None:
    """The rows that are understood are stored as well."""
    result = result_pb2.Result(result_id=new_id())
    result.measurements.add(name="x").MergeFromString(b"\xfa\x06\x03abc")
    finished = record(check_finished={"run_id": new_id(), "result": result})
    reading = ingest.read(arrival(finished.SerializeToString()))
    assert {"record_raw", "measurement"} <= set(left_by(reading))


def test_a_newer_revision_is_kept_raw() -> None:
    """What a newer agent says may mean more than this revision knows."""
    whole = record(check_started=started()).SerializeToString()
    assert "record_raw" not in left_by(ingest.read(arrival(whole)))
    assert "record_raw" in left_by(ingest.read(arrival(whole, revision=2)))


@given(st.binary(max_size=200))
def test_no_bytes_make_ingest_fail(content: bytes) -> None:
    """Whatever arrives becomes rows or a reason."""
    reading = ingest.read(arrival(content))
    assert bool(reading.reason) != bool(reading.content and left_by(reading))


@given(index=st.integers(0, 8), position=st.integers(0, 400), value=st.integers(0, 255))
def test_no_damaged_record_makes_ingest_fail(index: int, position: int, value: int) -> None:
    """One byte of a good record changed: still rows or a reason."""
    damaged = bytearray(full_records()[index].SerializeToString())
    damaged[position % len(damaged)] = value
    reading = ingest.read(arrival(bytes(damaged)))
    assert bool(reading.reason) != bool(reading.content and left_by(reading))
