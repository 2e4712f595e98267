"""Acknowledgements through a collector: who may, what is stored, and what reports say then."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import fleet_report_pb2, result_pb2, run_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id

from .conftest import PATIENCE_SECONDS, RunningCollector

if TYPE_CHECKING:
    from collections.abc import Iterator


class Person:
    """Somebody with a role, over TLS."""

    def __init__(self, collector: RunningCollector, secret: str) -> None:
        self.channel = collector.people_channel()
        self.metadata = (("authorization", f"Bearer {secret}"),)
        self.stub = FleetServiceStub(self.channel)

    def ask(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, metadata=self.metadata, timeout=PATIENCE_SECONDS)

    def acknowledge(self, check_name: str, **more: Any) -> Any:
        given = {"reason": "known", "expires_in_seconds": 3600.0} | more
        request = fleet.AcknowledgeFindingRequest(check_name=check_name, **given)
        return self.ask("AcknowledgeFinding", request)

    def withdraw(self, acknowledgement_id: str) -> Any:
        request = fleet.WithdrawAcknowledgementRequest(acknowledgement_id=acknowledgement_id)
        return self.ask("WithdrawAcknowledgement", request).known_failure

    def noted(self, check_name: str) -> list[str]:
        """Reasons of the notes on findings of a check."""
        request = fleet_report_pb2.GetFleetReportRequest(checks=[check_name])
        return [row.acknowledgement.reason for row in self.ask("GetFleetReport", request).findings]


@pytest.fixture
def admin(collector: RunningCollector) -> Iterator[Person]:
    person = Person(collector, collector.admin_secret)
    yield person
    person.channel.close()


@pytest.fixture
def failing(collector: RunningCollector) -> str:
    """A check of its own name that fails on a machine."""
    machine, check_name = collector.enrol(), f"check_{new_id()[-12:]}"
    run = run_pb2.Run(
        run_id=new_id(), machine={"machine_id": machine.machine_id, "hostname": "air"}, device="mps"
    )
    run.started_at.FromNanoseconds(time.time_ns())
    result = result_pb2.Result(
        result_id=new_id(), check_name=check_name, status=result_pb2.STATUS_FAIL, device="mps"
    )
    result.reason.text, result.reason.template = "mlx is missing.", "{name} is missing."
    records = [
        machine.record(run_started={"run": run}),
        machine.record(check_finished={"run_id": run.run_id, "result": result}),
    ]
    stream = machine.connect(new_id())
    stream.deliver(records, first=1)
    assert stream.receive("acknowledged").watermark == len(records)
    stream.close()
    return check_name


def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def test_a_finding_is_shown_apart_until_the_note_is_taken_back(
    collector: RunningCollector, admin: Person, failing: str
) -> None:
    """The report says so at once, both times; the list keeps it, and both acts are audited."""
    assert admin.noted(failing) == [""]
    answer = admin.acknowledge(failing, cause="MLX is")
    known = answer.known_failure
    assert (list(answer.hostnames), known.cause, known.finding.text) == (
        ["air"],
        "{name} is missing.",
        "mlx is missing.",
    )
    assert (admin.noted(failing), known.state) == (["known"], fleet.KnownFailure.STATE_IN_FORCE)
    taken = admin.withdraw(known.acknowledgement_id)
    assert (admin.noted(failing), taken.state) == ([""], fleet.KnownFailure.STATE_WITHDRAWN)
    listed = admin.ask("ListAcknowledgements", fleet.ListAcknowledgementsRequest())
    assert (listed.known_failures[0], listed.total) == (taken, len(listed.known_failures))
    with contextlib.closing(sqlite3.connect(collector.folder / "identity.db")) as connection:
        acts = connection.execute(
            "SELECT action FROM audit WHERE subject = ?", [known.acknowledgement_id]
        ).fetchall()
    assert acts == [("finding.acknowledge",), ("finding.withdraw",)]


def test_a_note_ends_by_itself(admin: Person, failing: str) -> None:
    """It stays in the list as expired."""
    known = admin.acknowledge(failing, expires_in_seconds=0.001).known_failure
    time.sleep(0.01)
    listed = admin.ask("ListAcknowledgements", fleet.ListAcknowledgementsRequest(limit=1))
    assert [(one.acknowledgement_id, one.state) for one in listed.known_failures] == [
        (known.acknowledgement_id, fleet.KnownFailure.STATE_EXPIRED)
    ]


def test_only_an_admin_takes_notes(collector: RunningCollector, failing: str) -> None:
    """A viewer may read them."""
    viewer = Person(collector, collector.secret("--role", "viewer"))
    code, _ = refused(lambda: viewer.acknowledge(failing))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    code, _ = refused(lambda: viewer.withdraw(new_id()))
    assert code is grpc.StatusCode.PERMISSION_DENIED
    viewer.ask("ListAcknowledgements", fleet.ListAcknowledgementsRequest())
    viewer.channel.close()


@pytest.mark.parametrize(
    ("asked", "code", "words"),
    [
        ({"cause": "gone"}, grpc.StatusCode.NOT_FOUND, "there is 'mlx is missing.'"),
        ({"machines": ["nowhere"]}, grpc.StatusCode.NOT_FOUND, "No machine is called 'nowhere'"),
        ({"reason": " "}, grpc.StatusCode.INVALID_ARGUMENT, "has a reason"),
        ({"reason": "a\nb\x1b[31m"}, grpc.StatusCode.INVALID_ARGUMENT, "one line of text"),
        ({"expires_in_seconds": 0}, grpc.StatusCode.INVALID_ARGUMENT, "expires within"),
        ({"check_name": "packges"}, grpc.StatusCode.NOT_FOUND, "ever run a check 'packges'"),
    ],
)
def test_what_cannot_be_noted_is_said_in_a_sentence(
    admin: Person, failing: str, asked: dict[str, Any], code: grpc.StatusCode, words: str
) -> None:
    """And nothing is stored."""
    given = {"check_name": failing} | asked
    answered, details = refused(lambda: admin.acknowledge(given.pop("check_name"), **given))
    assert answered is code
    assert words in details


def test_a_note_that_there_is_not_cannot_be_taken_back(admin: Person) -> None:
    """Nor one of which hardly a letter is given."""
    assert refused(lambda: admin.withdraw(new_id()))[0] is grpc.StatusCode.NOT_FOUND
    assert refused(lambda: admin.withdraw("01"))[0] is grpc.StatusCode.INVALID_ARGUMENT
