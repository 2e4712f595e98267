"""A collector that serves tells a webhook; people list, try and mute through it."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import notice_service_pb2 as messages
from llmenv.fleet.v1 import result_pb2, run_pb2
from llmenv.fleet.v1.notice_service_pb2_grpc import NoticeServiceStub
from llmenv.ids import new_id

from .conftest import PATIENCE_SECONDS, EnrolledMachine, RunningCollector, wait_until
from .notices.receiver import SECRET, Receiver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SETTINGS = """
notices_seconds = 0.1
notices_gather_seconds = 0.1

[[webhook]]
name = "lab"
url = "{url}"
secret_variable = "NOTICE_TEST_SECRET"
retry_seconds = 0.05
timeout_seconds = 60
"""


class Person:
    """Somebody with a role, over TLS."""

    def __init__(self, collector: RunningCollector, secret: str) -> None:
        self.channel = collector.people_channel()
        self.metadata = (("authorization", f"Bearer {secret}"),)
        self.stub = NoticeServiceStub(self.channel)

    def ask(self, method: str, request: Any) -> Any:
        return getattr(self.stub, method)(request, metadata=self.metadata, timeout=PATIENCE_SECONDS)

    def refused(self, method: str, request: Any) -> tuple[grpc.StatusCode, str]:
        with pytest.raises(grpc.RpcError) as error:
            self.ask(method, request)
        return error.value.code(), error.value.details()


class Mac:
    """Delivers over the wire."""

    def __init__(self, machine: EnrolledMachine) -> None:
        self.machine, self.spool_id, self.sequence = machine, new_id(), 0

    def run(self, check_name: str, status: int) -> None:
        run = run_pb2.Run(run_id=new_id(), device="mps", suite="quick")
        run.machine.machine_id, run.machine.hostname = self.machine.machine_id, "m2-ultra"
        run.environment.name = "train"
        run.started_at.FromNanoseconds(time.time_ns())
        result = result_pb2.Result(
            result_id=new_id(),
            check_name=check_name,
            status=status,  # type: ignore[arg-type]
            device="mps",
        )
        result.reason.text = result.reason.template = "It is so."
        records = [
            self.machine.record(run_started={"run": run}),
            self.machine.record(check_finished={"run_id": run.run_id, "result": result}),
        ]
        stream = self.machine.connect(self.spool_id)
        stream.deliver(records, first=self.sequence + 1)
        self.sequence += len(records)
        assert stream.receive("acknowledged").watermark == self.sequence
        stream.close()


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as listening:
        yield listening


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> Iterator[RunningCollector]:
    folder: Path = tmp_path_factory.mktemp("collector") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTICE_TEST_SECRET", SECRET)
        running = RunningCollector(folder, settings=SETTINGS.format(url=receiver.url))
        yield running
        running.stop()


@pytest.fixture
def admin(collector: RunningCollector) -> Iterator[Person]:
    person = Person(collector, collector.admin_secret)
    yield person
    person.channel.close()


def of_check(receiver: Receiver, check_name: str) -> list[str]:
    """Kinds of what was received about it."""
    return [
        one.content["kind"]
        for one in receiver.received
        if check_name in {change["check"] for change in one.content["changes"]}
    ]


def test_a_failing_check_and_its_recovery_reach_the_webhook_once(
    collector: RunningCollector, receiver: Receiver, admin: Person
) -> None:
    """Over the wire, while the receiver fails at first; and then they are listed and audited."""
    receiver.answers = [503]
    mac = Mac(collector.enrol())
    mac.run("told_check", result_pb2.STATUS_PASS)
    mac.run("told_check", result_pb2.STATUS_FAIL)
    wait_until(lambda: of_check(receiver, "told_check") == ["check_failing"] * 2)
    mac.run("told_check", result_pb2.STATUS_FAIL)
    mac.run("told_check", result_pb2.STATUS_PASS)
    wait_until(lambda: of_check(receiver, "told_check")[2:] == ["check_recovered"])
    assert all(one.is_signed() for one in receiver.received)
    first, again = (one for one in receiver.received if one.content["kind"] == "check_failing")
    assert first.id == again.id

    def listed(**asked: Any) -> list[Any]:
        answer = admin.ask("ListNotices", messages.ListNoticesRequest(**asked))
        assert list(answer.webhooks) == ["lab"]
        return [one for one in answer.notices if one.text.startswith("told check: ")]

    wait_until(lambda: all(one.deliveries[0].outcome == "status 204" for one in listed()))
    recovered, failing = listed()
    assert (recovered.kind, failing.kind) == ("check_recovered", "check_failing")
    assert failing.text.startswith("told check: fail on m2-ultra since ")
    assert failing.deliveries[0].attempts == 2
    assert listed(only_undelivered=True) == []
    told = [detail for detail in audited(collector, "notice.tell") if failing.notice_id in detail]
    assert told == [f"lab status 204, notice {failing.notice_id}"] * 2


def audited(collector: RunningCollector, action: str) -> list[str]:
    """Details."""
    with contextlib.closing(sqlite3.connect(collector.folder / "identity.db")) as connection:
        return [row[0] for row in connection.execute("SELECT detail FROM audit WHERE action = ?", [action])]


def test_what_is_muted_waits_and_is_told_when_the_mute_is_ended(
    collector: RunningCollector, receiver: Receiver, admin: Person
) -> None:
    """Both acts are audited, and the list of mutes says how much waits."""
    mac = Mac(collector.enrol())
    mac.run("muted_check", result_pb2.STATUS_PASS)
    request = messages.MuteNoticesRequest(
        machines=[mac.machine.machine_id], check_name="muted_check", reason="known", expires_in_seconds=3_600
    )
    mute = admin.ask("MuteNotices", request).mute
    assert (mute.state, mute.check_name) == (messages.Mute.STATE_IN_FORCE, "muted_check")
    mac.run("muted_check", result_pb2.STATUS_CRASH)

    def waiting() -> int:
        return int(admin.ask("ListMutes", messages.ListMutesRequest()).mutes[0].waiting_changes)

    wait_until(lambda: waiting() == 1)
    assert of_check(receiver, "muted_check") == []
    ended = admin.ask("UnmuteNotices", messages.UnmuteNoticesRequest(mute_id=mute.mute_id[:13])).mute
    assert ended.state == messages.Mute.STATE_WITHDRAWN
    wait_until(lambda: of_check(receiver, "muted_check") == ["check_failing"])
    assert "muted_check for 0.0416667 days" in audited(collector, "notice.mute")[0]
    assert len(audited(collector, "notice.unmute")) == 1


def test_a_webhook_is_tried_once(collector: RunningCollector, receiver: Receiver, admin: Person) -> None:
    """What it answered is said, and the act is audited; one that there is not is told by name."""
    receiver.answers = [500]
    answer = admin.ask("TestWebhook", messages.TestWebhookRequest(webhook="lab"))
    assert (answer.is_delivered, answer.outcome) == (False, "status 500")
    assert admin.ask("TestWebhook", messages.TestWebhookRequest(webhook="lab")).is_delivered
    assert len([one for one in receiver.received if one.content["kind"] == "test"]) == 2
    assert len(audited(collector, "notice.test")) == 2
    code, words = admin.refused("TestWebhook", messages.TestWebhookRequest(webhook="la"))
    assert (code, "there are: lab." in words) == (grpc.StatusCode.NOT_FOUND, True)


@pytest.mark.parametrize(
    ("method", "request_", "code", "words"),
    [
        ("MuteNotices", messages.MuteNoticesRequest(), grpc.StatusCode.INVALID_ARGUMENT, "Say what is muted"),
        (
            "MuteNotices",
            messages.MuteNoticesRequest(kind="x", reason="a", expires_in_seconds=1),
            grpc.StatusCode.INVALID_ARGUMENT,
            "There is no kind 'x'",
        ),
        (
            "MuteNotices",
            messages.MuteNoticesRequest(kind="regression", reason=" ", expires_in_seconds=1),
            grpc.StatusCode.INVALID_ARGUMENT,
            "a mute has a reason",
        ),
        (
            "MuteNotices",
            messages.MuteNoticesRequest(kind="regression", reason="a\nb", expires_in_seconds=1),
            grpc.StatusCode.INVALID_ARGUMENT,
            "one line of text",
        ),
        (
            "MuteNotices",
            messages.MuteNoticesRequest(kind="regression", reason="a"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "ends within 366 days",
        ),
        (
            "MuteNotices",
            messages.MuteNoticesRequest(machines=["nowhere"], reason="a", expires_in_seconds=1),
            grpc.StatusCode.NOT_FOUND,
            "No machine is called 'nowhere'",
        ),
        (
            "MuteNotices",
            messages.MuteNoticesRequest(check_name="nothing", reason="a", expires_in_seconds=1),
            grpc.StatusCode.NOT_FOUND,
            "ever run a check 'nothing'",
        ),
        (
            "UnmuteNotices",
            messages.UnmuteNoticesRequest(mute_id="019c6120-0000"),
            grpc.StatusCode.NOT_FOUND,
            "There is no mute",
        ),
        (
            "UnmuteNotices",
            messages.UnmuteNoticesRequest(mute_id="019"),
            grpc.StatusCode.INVALID_ARGUMENT,
            "at least 8",
        ),
    ],
    ids=["nothing", "kind", "reason", "line", "end", "machine", "check", "no-mute", "prefix"],
)
def test_what_cannot_be_done_is_said_in_a_sentence(
    admin: Person, method: str, request_: Any, code: grpc.StatusCode, words: str
) -> None:
    """And nothing is stored."""
    answered, details = admin.refused(method, request_)
    assert answered is code
    assert words in details


def test_a_viewer_looks_and_changes_nothing(collector: RunningCollector) -> None:
    """Listing is for every role."""
    viewer = Person(collector, collector.secret("--role", "viewer"))
    viewer.ask("ListNotices", messages.ListNoticesRequest())
    viewer.ask("ListMutes", messages.ListMutesRequest())
    for method, request in (
        ("TestWebhook", messages.TestWebhookRequest()),
        ("MuteNotices", messages.MuteNoticesRequest()),
        ("UnmuteNotices", messages.UnmuteNoticesRequest()),
    ):
        assert viewer.refused(method, request)[0] is grpc.StatusCode.PERMISSION_DENIED
    viewer.channel.close()


def test_a_mistake_in_a_webhook_refuses_to_start(tmp_path: Path) -> None:
    """With one sentence, and no traceback."""
    with pytest.raises(AssertionError) as error:
        RunningCollector(
            tmp_path / "data", settings='[[webhook]]\nname = "lab"\nbody = "text"\nurl = "ftp://x"\n'
        )
    assert "url of [[webhook]]: it begins with https://" in str(error.value)
    assert "Traceback" not in str(error.value)
