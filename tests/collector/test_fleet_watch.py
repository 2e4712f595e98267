"""A watch of the fleet: all of it at first, then what has become otherwise, and nothing twice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import fleet_watch_pb2 as messages
from llmenv.fleet.v1 import result_pb2
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv_collector.fleet_watch import watched_fleet
from llmenv_collector.fleet_watch.watched_fleet import Arrived
from llmenv_collector.fleet_watch.watches import turned

from .conftest import PATIENCE_SECONDS, RunningCollector, run_command, wait_until
from .live_run import LiveRun

if TYPE_CHECKING:
    from collections.abc import Iterator

PASS, FAIL, CRASH = result_pb2.STATUS_PASS, result_pb2.STATUS_FAIL, result_pb2.STATUS_CRASH
BEGINS, ENDS = messages.WatchedResult.TURN_BEGINS_TO_FAIL, messages.WatchedResult.TURN_FAILS_NO_MORE


class Watcher:
    """A viewer who looks on; remembers machines, results and where it is."""

    def __init__(self, collector: RunningCollector, **asked: Any) -> None:
        self.channel = collector.people_channel()
        metadata = (
            ("authorization", f"Bearer {collector.secret('--role', 'viewer', '--label', 'watcher')}"),
        )
        self.call = FleetServiceStub(self.channel).WatchFleet(
            messages.WatchFleetRequest(**asked), metadata=metadata, timeout=3 * PATIENCE_SECONDS
        )
        self.machines: dict[str, messages.WatchedMachine] = {}
        self.results: list[messages.WatchedResult] = []
        self.positions: dict[str, int] = {}
        self.next()

    def next(self) -> messages.WatchFleetResponse:
        response: messages.WatchFleetResponse = next(self.call)
        self.machines.update((one.hostname, one) for one in response.machines)
        self.results.extend(response.results)
        self.positions.update((one.spool_id, one.sequence) for one in response.positions)
        return response

    def until(self, seen: Any) -> None:
        """The deadline of the call bounds it."""
        while not seen():
            self.next()

    @property
    def said(self) -> list[tuple[str, int, int]]:
        return [(one.check_name, one.status, one.turn) for one in self.results]

    def leave(self) -> dict[str, int]:
        self.call.cancel()
        self.channel.close()
        return self.positions


@pytest.fixture
def run(collector: RunningCollector, request: pytest.FixtureRequest) -> Iterator[LiveRun]:
    """Of a machine that is called as the test is."""
    delivered = LiveRun(collector.enrol(request.node.name), request.node.name)
    yield delivered
    delivered.close()


def finish(run: LiveRun, check: str, status: result_pb2.Status.ValueType) -> None:
    run.check_ends(check, run.check_begins(check), status=status, reason="It is so.")


def test_a_watch_begins_with_all_and_follows(collector: RunningCollector) -> None:
    """Who is connected, which check runs and how far it is, each result with how it turned, and the end."""
    run = LiveRun(collector.enrol("studio-9"), "studio-9")
    run.begin()
    finish(run, "torch_basics", FAIL)
    watcher = Watcher(collector)
    machine = watcher.machines[run.hostname]
    assert machine.is_connected
    assert (machine.run.suite, machine.run.ended_checks, machine.run.planned_checks) == ("quick", 1, 3)
    assert (list(machine.failing_checks), watcher.results) == (["torch_basics"], [])
    result_id = run.check_begins("torch_training")
    watcher.until(lambda: watcher.machines[run.hostname].run.check_name == "torch_training")
    run.check_ends("torch_training", result_id, status=CRASH, reason="It is so.")
    finish(run, "torch_basics", PASS)
    watcher.until(lambda: len(watcher.results) == 2)
    assert watcher.said == [("torch_training", CRASH, BEGINS), ("torch_basics", PASS, ENDS)]
    assert (watcher.results[0].reason.text, watcher.results[0].hostname) == ("It is so.", run.hostname)
    watcher.until(lambda: list(watcher.machines[run.hostname].failing_checks) == ["torch_training"])
    run.end()
    watcher.until(lambda: not watcher.machines[run.hostname].HasField("run"))
    run.close()
    watcher.until(lambda: not watcher.machines[run.hostname].is_connected)
    assert watcher.machines[run.hostname].HasField("last_seen_at")
    watcher.leave()


def test_who_comes_back_hears_what_was_missed_once(collector: RunningCollector, run: LiveRun) -> None:
    """From the position that was reached, with how each turned; not what was said before."""
    run.begin()
    finish(run, "torch_basics", PASS)
    watcher = Watcher(collector, machines=[run.hostname])
    finish(run, "torch_basics", FAIL)
    watcher.until(lambda: watcher.results)
    reached = [{"spool_id": spool, "sequence": at} for spool, at in watcher.leave().items()]
    finish(run, "torch_basics", FAIL)
    finish(run, "torch_basics", PASS)
    again = Watcher(collector, machines=[run.hostname], positions=reached)
    assert again.said == [("torch_basics", FAIL, 0), ("torch_basics", PASS, ENDS)]
    finish(run, "torch_training", PASS)
    again.until(lambda: len(again.results) == 3)
    assert again.said[2] == ("torch_training", PASS, 0)
    again.leave()


def test_a_watch_is_of_what_was_asked(collector: RunningCollector, run: LiveRun) -> None:
    """One check of the machines that satisfy a condition."""
    other = LiveRun(collector.enrol("another"), "another")
    for one in (run, other):
        one.begin()
    watcher = Watcher(collector, where=f"hostname = '{run.hostname}'", checks=["torch_training"])
    assert list(watcher.machines) == [run.hostname]
    finish(other, "torch_training", FAIL)
    finish(run, "torch_basics", FAIL)
    finish(run, "torch_training", FAIL)
    watcher.until(lambda: watcher.results)
    assert [(one.hostname, one.check_name) for one in watcher.results] == [(run.hostname, "torch_training")]
    watcher.until(lambda: watcher.machines[run.hostname].failing_checks)
    assert list(watcher.machines[run.hostname].failing_checks) == ["torch_training"]
    watcher.leave()
    other.close()


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"machines": ["nobody"]}, grpc.StatusCode.NOT_FOUND),
        ({"checks": ["no_such_check"]}, grpc.StatusCode.NOT_FOUND),
        ({"where": "no_such_column = 1"}, grpc.StatusCode.INVALID_ARGUMENT),
        ({"positions": [{"spool_id": "nonsense", "sequence": 1}]}, grpc.StatusCode.INVALID_ARGUMENT),
    ],
    ids=["machine", "check", "condition", "position"],
)
def test_what_cannot_be_watched_is_refused(
    collector: RunningCollector, asked: Any, code: grpc.StatusCode
) -> None:
    """With one sentence, before anything is said."""
    with pytest.raises(grpc.RpcError) as refused:
        Watcher(collector, **asked)
    assert refused.value.code() == code
    assert refused.value.details()


def test_a_watch_ends_with_its_token_and_with_the_collector(own_collector: RunningCollector) -> None:
    """A token that is revoked shows nothing more; a collector that stops says so."""
    watcher, other = Watcher(own_collector), Watcher(own_collector)
    folder = str(own_collector.folder)
    listed = run_command("token", "list", "--data", folder).stdout.splitlines()
    token_id = next(line.split()[0] for line in listed if "watcher" in line)
    assert run_command("token", "revoke", "--data", folder, token_id).returncode == 0
    endings = []

    def ended(one: Watcher) -> bool:
        try:
            one.next()
        except grpc.RpcError as error:
            endings.append(error.code())
            return True
        return False

    wait_until(lambda: ended(watcher))
    assert endings == [grpc.StatusCode.UNAUTHENTICATED]
    own_collector.stop()
    wait_until(lambda: ended(other))
    assert endings[1] == grpc.StatusCode.UNAVAILABLE


def test_neither_a_skip_nor_an_unknown_verdict_turns_anything() -> None:
    """A check that fails, is skipped and fails again began to fail once."""
    place = ("machine", "train", "mps", "leak")
    words = ["fail", "skip", "fail", "unknown", "warn", "skip", "crash"]
    results = [Arrived(place, word, "", messages.WatchedResult()) for word in words]
    failing: set[watched_fleet.Place] = set()
    assert [one.turn for one in turned(results, failing)] == [BEGINS, 0, 0, 0, ENDS, 0, BEGINS]
    assert failing == {place}


def test_words_that_fail_are_those_that_the_store_is_asked_for() -> None:
    """The statement names them again."""
    assert all(f"'{word}'" in watched_fleet.VERDICTS for word in watched_fleet.FAILING | {"skip", "unknown"})
