"""Commands: who is selected, what a machine is told and when, and what people see of it."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import record_pb2, result_pb2
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id

from .conftest import PATIENCE_SECONDS, EnrolledMachine, RunningCollector, run_command, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .conftest import AgentStream

ISSUED, ACCEPTED, STARTED, ENDED, EXPIRED, CANCELLED = (
    record_pb2.CommandOutcome.STATE_UNSPECIFIED,
    record_pb2.CommandOutcome.STATE_ACCEPTED,
    record_pb2.CommandOutcome.STATE_STARTED,
    record_pb2.CommandOutcome.STATE_ENDED,
    record_pb2.CommandOutcome.STATE_EXPIRED,
    record_pb2.CommandOutcome.STATE_CANCELLED,
)


class Admin:
    """A person with a role, over TLS."""

    def __init__(self, collector: RunningCollector, secret: str) -> None:
        self.channel = collector.people_channel()
        self.metadata = (("authorization", f"Bearer {secret}"),)
        self.stub = FleetServiceStub(self.channel)

    def issue(self, *, expires: float = 60, dry: bool = False, splay: float = 0, **selection: Any) -> Any:
        request = fleet.IssueCommandRequest(
            selection=fleet.MachineSelection(**selection),
            run_checks={"suite": "quick", "splay_seconds": splay},
            expires_in_seconds=expires,
            is_dry_run=dry,
        )
        return self.stub.IssueCommand(request, metadata=self.metadata, timeout=PATIENCE_SECONDS)

    def cancel(self, identity: str) -> Any:
        request = fleet.CancelCommandRequest(id=identity)
        return self.stub.CancelCommand(request, metadata=self.metadata, timeout=PATIENCE_SECONDS).commands

    def commands(self, batch_id: str = "") -> Any:
        request = fleet.ListCommandsRequest(batch_id=batch_id)
        return self.stub.ListCommands(request, metadata=self.metadata, timeout=PATIENCE_SECONDS).commands

    def watch(self, identity: str) -> Any:
        return self.stub.WatchCommand(fleet.WatchCommandRequest(id=identity), metadata=self.metadata)


@pytest.fixture
def admin(collector: RunningCollector) -> Iterator[Admin]:
    person = Admin(collector, collector.admin_secret)
    yield person
    person.channel.close()


def connected(machine: EnrolledMachine, spool_id: str) -> AgentStream:
    """A stream of an agent that obeys commands."""
    return machine.connect(spool_id, capabilities=["commands"])


def say(stream: AgentStream, sequence: int, command_id: str, state: int, **more: Any) -> None:
    """Deliver an outcome, as the agent would."""
    outcome = record_pb2.CommandOutcome(command_id=command_id, state=state, **more)  # type: ignore[arg-type]
    stream.deliver([stream.machine.record(command_outcome=outcome)], first=sequence)
    assert stream.receive("acknowledged").watermark == sequence


def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def label(collector: RunningCollector, machine: EnrolledMachine, *changes: str) -> str:
    done = run_command("machine", "label", "--data", str(collector.folder), machine.machine_id, *changes)
    assert done.returncode == 0, done.stderr
    return done.stderr


def audit(collector: RunningCollector) -> list[tuple[str, str, str]]:
    with contextlib.closing(sqlite3.connect(collector.folder / "identity.db")) as connection:
        return connection.execute("SELECT action, subject, detail FROM audit").fetchall()


def test_a_connected_machine_is_told_at_once(collector: RunningCollector, admin: Admin) -> None:
    """Over the open stream, with the time that is left, and once."""
    machine = collector.enrol()
    stream = connected(machine, new_id())
    issued = admin.issue(machines=[machine.machine_id])
    (expected,) = issued.commands
    command = stream.receive("command")
    assert (expected.command_id, "quick") == (command.command_id, command.run_checks.suite)
    assert 0 < command.expires_in_seconds <= 60
    admin.issue(machines=[machine.machine_id])
    assert stream.receive("command").command_id != command.command_id
    stream.close()


def test_a_machine_that_returns_is_told_until_it_answers(collector: RunningCollector, admin: Admin) -> None:
    """With each new stream, until it has said that it has it; then not again."""
    machine, spool_id = collector.enrol(), new_id()
    (issued,) = admin.issue(machines=[machine.machine_id]).commands
    assert (issued.state, issued.is_connected) == (ISSUED, False)
    first = connected(machine, spool_id)
    assert first.receive("command").command_id == issued.command_id
    first.close()
    second = connected(machine, spool_id)
    assert second.receive("command").command_id == issued.command_id
    say(second, 1, issued.command_id, ACCEPTED)
    second.close()
    third = connected(machine, spool_id)
    (later,) = admin.issue(machines=[machine.machine_id]).commands
    assert third.receive("command").command_id == later.command_id
    third.close()


def test_a_collector_that_was_killed_hands_down_all_the_same(own_collector: RunningCollector) -> None:
    """The row was committed before anybody was told: the next collector on the store finds it."""
    machine = own_collector.enrol()
    admin = Admin(own_collector, own_collector.admin_secret)
    (issued,) = admin.issue(machines=[machine.machine_id]).commands
    own_collector.stop(9)
    own_collector.start()
    stream = connected(machine, new_id())
    assert stream.receive("command").command_id == issued.command_id
    stream.close()


def test_an_agent_that_knows_no_commands_is_spared_them(collector: RunningCollector, admin: Admin) -> None:
    """It says what it can in its Hello; the command waits for an agent that can."""
    machine, spool_id = collector.enrol(), new_id()
    old = machine.connect(spool_id)
    (issued,) = admin.issue(machines=[machine.machine_id]).commands
    old.close()
    new = connected(machine, spool_id)
    assert new.receive("command").command_id == issued.command_id
    new.close()


def test_a_command_nobody_was_told_of_expires_by_itself(collector: RunningCollector, admin: Admin) -> None:
    """The machine that returns too late is not told."""
    machine = collector.enrol()
    (issued,) = admin.issue(machines=[machine.machine_id], expires=0.3).commands
    wait_until(lambda: admin.commands(issued.batch_id)[0].state == EXPIRED)
    stream = connected(machine, new_id())
    (later,) = admin.issue(machines=[machine.machine_id]).commands
    assert stream.receive("command").command_id == later.command_id
    stream.close()


def test_a_splay_goes_with_the_command_and_ends_before_it(collector: RunningCollector, admin: Admin) -> None:
    """What could not begin in time is refused, and what is no length of time."""
    machine = collector.enrol()
    stream = connected(machine, new_id())
    admin.issue(machines=[machine.machine_id], splay=30)
    assert stream.receive("command").run_checks.splay_seconds == 30
    too_long = refused(lambda: admin.issue(machines=[machine.machine_id], splay=60))
    assert "Machines begin up to 60 s later, and after 60 s nobody begins any more" in too_long[1]
    assert "A splay is at most 7 days long" in refused(lambda: admin.issue(all=True, splay=float("nan")))[1]
    stream.close()


def test_a_machine_is_asked_for_what_it_may_have(collector: RunningCollector, admin: Admin) -> None:
    """Told of and not answered in time: it is told again, with no time left, and has the last word."""
    machine, spool_id = collector.enrol(), new_id()
    (issued,) = admin.issue(machines=[machine.machine_id], expires=6).commands
    time_left = []
    while not time_left or time_left[-1] > 0:
        stream = connected(machine, spool_id)
        time_left.append(stream.receive("command").expires_in_seconds)
        stream.close()
        time.sleep(0.2)  # within what a machine may call
    assert 0 < time_left[0] <= 6
    assert admin.commands(issued.batch_id)[0].state == ISSUED
    last = connected(machine, spool_id)
    assert last.receive("command").expires_in_seconds == 0
    say(last, 1, issued.command_id, EXPIRED)
    assert admin.commands(issued.batch_id)[0].state == EXPIRED
    last.close()


def test_a_command_taken_back_in_time_is_never_told(collector: RunningCollector, admin: Admin) -> None:
    """Nobody was told: it is cancelled at once."""
    machine = collector.enrol()
    (issued,) = admin.issue(machines=[machine.machine_id]).commands
    (cancelled,) = admin.cancel(issued.command_id)
    assert (cancelled.state, cancelled.HasField("cancelled_at")) == (CANCELLED, True)
    stream = connected(machine, new_id())
    (later,) = admin.issue(machines=[machine.machine_id]).commands
    assert stream.receive("command").command_id == later.command_id
    stream.close()


@pytest.mark.parametrize("meant", ["command", "batch", "run"])
def test_a_machine_is_told_that_a_command_is_taken_back(
    collector: RunningCollector, admin: Admin, meant: str
) -> None:
    """By the id of the command, its batch or a run that it led to; again until the machine has ended it."""
    machine, spool_id, run_id = collector.enrol(), new_id(), new_id()
    stream = connected(machine, spool_id)
    (issued,) = admin.issue(machines=[machine.machine_id]).commands
    stream.receive("command")
    say(stream, 1, issued.command_id, ACCEPTED)
    say(stream, 2, issued.command_id, STARTED, run_id=run_id)
    admin.cancel({"command": issued.command_id, "batch": issued.batch_id, "run": run_id}[meant])
    taking_back = stream.receive("command")
    assert taking_back.cancel_run.command_id == issued.command_id
    stream.close()
    again = connected(machine, spool_id)
    assert again.receive("command") == taking_back
    say(again, 3, issued.command_id, CANCELLED)
    (seen,) = admin.commands(issued.batch_id)
    assert (seen.state, list(seen.run_ids)) == (CANCELLED, [run_id])
    assert admin.cancel(issued.batch_id) == []
    again.close()


@pytest.mark.parametrize(
    ("selection", "hostnames"),
    [
        ({"where": "chip = 'Apple M2 Ultra' AND hostname LIKE 'one-%'"}, ["one"]),
        ({"where": "labels['room'] = 'b12' -- those downstairs"}, ["one", "two"]),
        ({"labels": ["room=b12", "loan"]}, ["two"]),
        ({"labels": ["room"]}, ["one", "two"]),
        ({"labels": ["room=b12"], "where": "hostname LIKE 'one-%'"}, ["one"]),
        ({"machines": ["one", "three"]}, ["one", "three"]),
    ],
)
def test_machines_are_selected(
    collector: RunningCollector, admin: Admin, selection: dict[str, Any], hostnames: list[str]
) -> None:
    """By condition, by label and by name; together they narrow. A dry run says which, and issues nothing."""
    machines = {name: collector.enrol(f"{name}-{new_id()}") for name in ("one", "two", "three")}
    label(collector, machines["one"], "room=b12")
    label(collector, machines["two"], "room=b12", "loan=yes")
    if "machines" in selection:
        selection = {"machines": [machines[name].machine_id for name in selection["machines"]]}
    selected = admin.issue(dry=True, **selection)
    ours = {machine.machine_id for machine in machines.values()}
    found = [one.hostname.partition("-")[0] for one in selected.commands if one.machine_id in ours]
    assert hostnames == sorted(found, key=["one", "two", "three"].index)
    assert selected.batch_id == ""


def test_revoked_machines_are_never_selected(collector: RunningCollector, admin: Admin) -> None:
    """Neither by name nor among all."""
    machine = collector.enrol()
    run_command("machine", "revoke", "--data", str(collector.folder), machine.machine_id)
    assert machine.machine_id not in {one.machine_id for one in admin.issue(dry=True, all=True).commands}
    code, sentence = refused(lambda: admin.issue(machines=[machine.machine_id]))
    assert code is grpc.StatusCode.NOT_FOUND
    assert "No machine is called" in sentence


@pytest.mark.parametrize(
    ("selection", "code", "sentence"),
    [
        ({}, "INVALID_ARGUMENT", "Say which machines"),
        ({"all": True, "labels": ["room"]}, "INVALID_ARGUMENT", "not both"),
        ({"where": "chp = 'M2'"}, "INVALID_ARGUMENT", 'Referenced column "chp" not found'),
        ({"where": "true); SELECT (true"}, "INVALID_ARGUMENT", 'syntax error at or near ")"'),
        ({"where": "hostname IN (FROM store.machine)"}, "INVALID_ARGUMENT", "a SELECT of its own"),
        ({"where": "false"}, "NOT_FOUND", "No machine is selected"),
        ({"machines": ["nobody"]}, "NOT_FOUND", "No machine is called 'nobody'"),
        ({"machines": ["n" * 100_000]}, "NOT_FOUND", f"No machine is called '{'n' * 64}': see"),
    ],
)
def test_a_wrong_selection_is_one_sentence(
    collector: RunningCollector, admin: Admin, selection: dict[str, Any], code: str, sentence: str
) -> None:
    """And nothing is issued."""
    collector.enrol()
    before = len(admin.commands())
    found, said = refused(lambda: admin.issue(**selection))
    assert (found.name, "\n" in said) == (code, False)
    assert sentence in said
    assert len(admin.commands()) == before


@pytest.mark.parametrize(
    ("request_", "sentence"),
    [
        ({"run_checks": {}}, "Name either a suite or checks"),
        ({"run_checks": {"suite": "quick", "checks": ["ops"]}}, "Name either a suite or checks"),
        ({"run_checks": {"suite": "quick", "device": "tpu"}}, "mps, cuda or cpu"),
        ({"run_checks": {"suite": "quick", "parameters_json": "{"}}, "The parameters are no JSON"),
        ({"run_checks": {"suite": "quick", "parameters_json": "[1]"}}, "no JSON object of objects"),
        ({"run_checks": {"suite": "quick"}, "expires_in_seconds": -1}, "expires within 90 days"),
    ],
)
def test_what_no_machine_could_do_is_refused(admin: Admin, request_: dict[str, Any], sentence: str) -> None:
    """Before anybody is told."""
    request = fleet.IssueCommandRequest(selection={"all": True}, **request_)
    code, said = refused(lambda: admin.stub.IssueCommand(request, metadata=admin.metadata))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert sentence in said


@pytest.mark.parametrize("role", ["viewer", "analyst"])
def test_only_an_admin_commands(collector: RunningCollector, role: str) -> None:
    """Others look on."""
    person = Admin(collector, collector.secret("--role", role))
    assert refused(lambda: person.issue(all=True))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert refused(lambda: person.cancel("00000000"))[0] is grpc.StatusCode.PERMISSION_DENIED
    person.commands()
    assert refused(lambda: list(person.watch("00000000")))[0] is grpc.StatusCode.NOT_FOUND
    person.channel.close()


def test_every_change_leaves_an_audit_row(collector: RunningCollector, admin: Admin) -> None:
    """Who issued, who took back, and which label was set."""
    machine = collector.enrol()
    label(collector, machine, "room=b12")
    issued = admin.issue(machines=[machine.machine_id])
    admin.cancel(issued.batch_id)
    rows = {(action, subject): detail for action, subject, detail in audit(collector)}
    assert rows["machine.label", machine.machine_id] == "room=b12"
    assert rows["command.issue", issued.batch_id].startswith("suite quick on 1 machines, by token ")
    assert rows["command.cancel", issued.batch_id].startswith("1 commands, by token ")


def test_an_ambiguous_id_is_refused(collector: RunningCollector, admin: Admin) -> None:
    """A batch and its commands share the beginning of their ids: a prefix must mean one thing."""
    machines = [collector.enrol() for _ in range(2)]
    issued = admin.issue(machines=[one.machine_id for one in machines])
    code, said = refused(lambda: admin.cancel(issued.batch_id[:8]))
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "give more of the id" in said
    assert refused(lambda: admin.cancel("short"))[0] is grpc.StatusCode.INVALID_ARGUMENT
    assert len(admin.cancel(issued.batch_id)) == 2


def test_watching_tells_every_step(collector: RunningCollector, admin: Admin) -> None:
    """As it happens, and from the beginning for whoever comes later; it ends with the last command."""
    machine, run_id, result_id = collector.enrol(), new_id(), new_id()
    stream = connected(machine, new_id())
    (issued,) = admin.issue(machines=[machine.machine_id]).commands
    live: list[fleet.WatchCommandResponse] = []
    watching = threading.Thread(target=lambda: live.extend(admin.watch(issued.batch_id)))
    watching.start()
    stream.receive("command")
    say(stream, 1, issued.command_id, ACCEPTED)
    run = {"run_id": run_id, "environment": {"name": "train"}}
    started = record_pb2.CommandOutcome(command_id=issued.command_id, state=STARTED, run_id=run_id)
    check = {"run_id": run_id, "result_id": result_id, "check_name": "torch_basics"}
    result = result_pb2.Result(result_id=result_id, check_name="torch_basics", status=result_pb2.STATUS_WARN)
    result.reason.text = result.reason.template = "It is old."
    records = [
        machine.record(run_started={"run": run}),
        machine.record(command_outcome=started),
        machine.record(check_started=check),
        machine.record(check_finished={"run_id": run_id, "result": result}),
    ]
    stream.deliver(records, first=2)
    stream.receive("acknowledged")
    say(stream, 6, issued.command_id, ENDED)
    watching.join(timeout=PATIENCE_SECONDS)
    assert not watching.is_alive()
    for steps in (live, list(admin.watch(issued.command_id))):
        began, ended = (step for step in steps if step.check_began or step.check_ended)
        assert (began.check_began, ended.check_ended) == ("torch_basics", "torch_basics")
        assert (ended.status, ended.reason.text) == (result_pb2.STATUS_WARN, "It is old.")
        assert (ended.run_id, ended.environment_name) == (run_id, "train")
        assert steps[-1].command.state == ENDED
    stream.close()


def test_watching_tells_of_a_check_that_was_left_out(collector: RunningCollector, admin: Admin) -> None:
    """One in quarantine never began, and has a result that says until when."""
    machine, run_id, result_id = collector.enrol(), new_id(), new_id()
    stream = connected(machine, new_id())
    (issued,) = admin.issue(machines=[machine.machine_id]).commands
    stream.receive("command")
    say(stream, 1, issued.command_id, ACCEPTED)
    started = record_pb2.CommandOutcome(command_id=issued.command_id, state=STARTED, run_id=run_id)
    result = result_pb2.Result(result_id=result_id, check_name="torch_basics", status=result_pb2.STATUS_SKIP)
    result.reason.text = result.reason.template = "Left out until tomorrow."
    records = [
        machine.record(run_started={"run": {"run_id": run_id, "environment": {"name": "train"}}}),
        machine.record(command_outcome=started),
        machine.record(check_finished={"run_id": run_id, "result": result}),
    ]
    stream.deliver(records, first=2)
    stream.receive("acknowledged")
    say(stream, 5, issued.command_id, ENDED)
    (ended,) = (step for step in admin.watch(issued.command_id) if step.check_began or step.check_ended)
    assert (ended.check_began, ended.check_ended) == ("", "torch_basics")
    assert (ended.status, ended.reason.text) == (result_pb2.STATUS_SKIP, "Left out until tomorrow.")
    assert (ended.run_id, ended.environment_name) == (run_id, "train")
    stream.close()


def test_watching_ends_when_a_command_expires(collector: RunningCollector, admin: Admin) -> None:
    """Nothing is committed then: time alone ends it."""
    machine = collector.enrol()
    (issued,) = admin.issue(machines=[machine.machine_id], expires=5).commands
    states = [step.command.state for step in admin.watch(issued.command_id)]
    assert states == [ISSUED, EXPIRED]


def test_who_watches_a_collector_that_stops_is_told(own_collector: RunningCollector) -> None:
    """It does not wait for the watchers, and they may watch again."""
    machine = own_collector.enrol()
    admin = Admin(own_collector, own_collector.admin_secret)
    (issued,) = admin.issue(machines=[machine.machine_id]).commands
    steps = admin.watch(issued.command_id)
    assert next(steps).command.command_id == issued.command_id
    own_collector.stop()
    code, sentence = refused(lambda: list(steps))
    assert code is grpc.StatusCode.UNAVAILABLE
    assert "The collector stops; watch again" in sentence


def test_labels_are_listed_and_taken_off(collector: RunningCollector, admin: Admin) -> None:
    """By the command line, in the list of machines, and to SQL."""
    machine = collector.enrol()
    assert "room=b12, shelf=3" in label(collector, machine, "shelf=3", "room=b12")
    assert "Labels of m2-ultra" in label(collector, machine, "shelf-")
    listed = run_command("machine", "list", "--data", str(collector.folder)).stdout
    (line,) = (line for line in listed.splitlines() if machine.machine_id in line)
    assert line.endswith("room=b12")
    machines = admin.stub.ListMachines(fleet.ListMachinesRequest(), metadata=admin.metadata).machines
    (ours,) = (one for one in machines if one.machine.machine_id == machine.machine_id)
    assert dict(ours.labels) == {"room": "b12"}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (["room"], "'room' is no label: write key=value, or key- to take it off"),
        (["=b12"], "'=b12' is no label"),
        (["room="], "The value of label 'room' must have 1 to 255 printable characters"),
        (["shelf-"], "has no label 'shelf'"),
    ],
)
def test_a_wrong_label_is_one_sentence(
    collector: RunningCollector, changes: Sequence[str], sentence: str
) -> None:
    """And changes nothing."""
    machine = collector.enrol()
    done = run_command("machine", "label", "--data", str(collector.folder), machine.machine_id, *changes)
    assert done.returncode in {1, 2}
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
