"""Measurements made elsewhere, through a collector: who may, what is answered, and what is stored."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import fleet_report_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id

from .conftest import PATIENCE_SECONDS, RunningCollector

if TYPE_CHECKING:
    from collections.abc import Iterator

HEADER = "machine,chip,gpu_cores,memory_gb,benchmark,measurement,unit,value,better,measured_at"
# Memory bandwidth in GB/s by chip, as llama.cpp's discussion 4167 lists it.
GOOD = "table,Apple M1,8,16,memory_speed,stated_bandwidth,GB/s,68.25,higher,2023-11-22"
OTHER = "table,Apple M1 Pro,16,32,memory_speed,stated_bandwidth,GB/s,200,higher,2023-11-22"
BAD = "table,Apple M2 Ultra,76,192,memory_speed,stated_bandwidth,GB/s,fast,higher,2023-11-22"


class Person:
    """Somebody with a role, over TLS."""

    def __init__(self, collector: RunningCollector, secret: str) -> None:
        self.channel = collector.people_channel()
        self.metadata = (("authorization", f"Bearer {secret}"),)
        self.stub = FleetServiceStub(self.channel)

    def take_in(self, *lines: str, source: str, file_name: str = "table.csv", **more: Any) -> Any:
        """The file in two parts, of which the first says what it is."""
        content = "\n".join([HEADER, *lines]).encode()
        parts = [
            fleet.ImportMeasurementsRequest(source=source, file_name=file_name, content=content[:20], **more),
            fleet.ImportMeasurementsRequest(content=content[20:]),
        ]
        return self.stub.ImportMeasurements(iter(parts), metadata=self.metadata, timeout=PATIENCE_SECONDS)

    def chips(self, source: str) -> dict[str, float]:
        """Median by chip of what the report has of a source."""
        request = fleet_report_pb2.GetFleetReportRequest(by=fleet_report_pb2.AXIS_CHIP)
        report = self.stub.GetFleetReport(request, metadata=self.metadata, timeout=PATIENCE_SECONDS)
        return {
            row.variant.chip: row.median.value
            for row in report.chips
            if row.series.definition_hash == f"import:{source}"
        }


@pytest.fixture
def admin(collector: RunningCollector) -> Iterator[Person]:
    person = Person(collector, collector.admin_secret)
    yield person
    person.channel.close()


@pytest.fixture
def source() -> str:
    return f"source-{new_id()[-12:]}"


def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def test_a_file_is_imported_whole_and_once(collector: RunningCollector, admin: Person, source: str) -> None:
    """The report has it, the audit says who, and the same file again adds nothing."""
    answer = admin.take_in(GOOD, OTHER, source=source)
    assert (answer.good_rows, answer.machines, answer.is_known) == (2, 2, False)
    assert admin.chips(source) == {"Apple M1": 68.25, "Apple M1 Pro": 200}
    again = admin.take_in(GOOD, OTHER, source=source)
    assert (again.import_id, again.is_known) == ("", True)
    with contextlib.closing(sqlite3.connect(collector.folder / "identity.db")) as connection:
        acts = connection.execute(
            "SELECT action, detail FROM audit WHERE subject = ?", [answer.import_id]
        ).fetchall()
    ((action, detail),) = acts
    assert action == "measurements.import"
    assert detail.startswith(f"2 rows of table.csv from {source}, by token ")


def test_with_a_bad_row_nothing_is_imported(admin: Person, source: str) -> None:
    """Each is named with its line and why; only who says so gets the others."""
    answer = admin.take_in(GOOD, BAD, source=source)
    assert [(one.line, one.reason) for one in answer.refusals] == [(3, "value is no number: 'fast'.")]
    assert (answer.good_rows, answer.refused_rows, answer.import_id) == (1, 1, "")
    assert admin.chips(source) == {}
    assert admin.take_in(GOOD, BAD, source=source, skips_bad_rows=True).import_id
    assert admin.chips(source) == {"Apple M1": 68.25}


def test_a_dry_run_stores_nothing(admin: Person, source: str) -> None:
    """And says the same."""
    answer = admin.take_in(GOOD, source=source, is_dry_run=True)
    assert (answer.good_rows, answer.import_id, admin.chips(source)) == (1, "", {})


def test_a_file_replaces_the_former_of_its_name(admin: Person, source: str) -> None:
    """Only where that is asked for."""
    admin.take_in(GOOD, source=source)
    code, details = refused(lambda: admin.take_in(OTHER, source=source))
    assert (code, "replace it" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)
    assert admin.take_in(OTHER, source=source, is_replacement=True).withdrawn_rows == 1
    assert admin.chips(source) == {"Apple M1 Pro": 200}


def test_imported_machines_are_not_enrolled(admin: Person, source: str) -> None:
    """Nobody lists them, and nobody waits for them."""
    before = admin.stub.ListMachines(fleet.ListMachinesRequest(), metadata=admin.metadata, timeout=60)
    admin.take_in(GOOD, source=source)
    after = admin.stub.ListMachines(fleet.ListMachinesRequest(), metadata=admin.metadata, timeout=60)
    assert len(after.machines) == len(before.machines)


def test_only_an_admin_imports(collector: RunningCollector, source: str) -> None:
    """An analyst may read it."""
    analyst = Person(collector, collector.secret("--role", "analyst"))
    code, _ = refused(lambda: analyst.take_in(GOOD, source=source))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    analyst.channel.close()


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"source": "my lab"}, "A source is named by"),
        ({"source": ""}, "A source is named by"),
        ({"file_name": "a/table.csv"}, "without its folder"),
        ({"file_name": "table.txt"}, "ends in .csv or .jsonl"),
    ],
)
def test_a_file_that_cannot_be_taken_in_is_refused(
    admin: Person, source: str, asked: dict[str, str], words: str
) -> None:
    """As a whole, in a sentence."""
    code, details = refused(lambda: admin.take_in(GOOD, **{"source": source, **asked}))
    assert (code, words in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_no_file_is_no_import(admin: Person) -> None:
    """A stream that ends before it began."""
    code, _ = refused(lambda: admin.stub.ImportMeasurements(iter([]), metadata=admin.metadata, timeout=60))
    assert code is grpc.StatusCode.INVALID_ARGUMENT


def test_an_import_is_listed_and_withdrawn(collector: RunningCollector, admin: Person) -> None:
    """Withdrawn once, by a prefix of its id: it stays listed, counts no more, and its file may come again."""
    answer = admin.take_in(GOOD, source="withdrawn")
    listed = admin.stub.ListImports(fleet.ListImportsRequest(limit=1), metadata=admin.metadata)
    assert [(one.import_id, one.good_rows) for one in listed.imports] == [(answer.import_id, 1)]
    assert listed.total >= 1
    assert admin.chips("withdrawn")
    asked = fleet.WithdrawImportRequest(import_id=answer.import_id[:18])
    first = admin.stub.WithdrawImport(asked, metadata=admin.metadata).imported
    assert (first.import_id, first.withdrawn_by) == (answer.import_id, "first admin")
    assert admin.stub.WithdrawImport(asked, metadata=admin.metadata).imported == first
    assert not admin.chips("withdrawn")
    assert admin.take_in(GOOD, source="withdrawn").import_id
    with contextlib.closing(sqlite3.connect(collector.folder / "identity.db")) as connection:
        query = "SELECT count(*) FROM audit WHERE action = 'measurements.withdraw' AND subject = ?"
        assert connection.execute(query, (answer.import_id,)).fetchone() == (2,)


@pytest.mark.parametrize(
    ("import_id", "code"),
    [
        ("01900000-0000-7000-8000-000000000000", grpc.StatusCode.NOT_FOUND),
        ("0", grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["unknown", "too-short"],
)
def test_what_cannot_be_withdrawn_is_said(admin: Person, import_id: str, code: grpc.StatusCode) -> None:
    """In a sentence."""
    with pytest.raises(grpc.RpcError) as refused:
        admin.stub.WithdrawImport(fleet.WithdrawImportRequest(import_id=import_id), metadata=admin.metadata)
    assert refused.value.code() == code
