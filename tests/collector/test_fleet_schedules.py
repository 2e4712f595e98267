"""Schedules: who may set them, which machines are told, when, and what people see of them."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1 import record_pb2
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv.printed_token import PrintedToken
from llmenv_collector.pages import run_page
from llmenv_collector.pages.wording import Wording

from .conftest import PATIENCE_SECONDS, EnrolledMachine, RunningCollector, run_command, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv.fleet.v1.run_pb2 import Run

    from .conftest import AgentStream

HOUR = 3_600.0
IN_FORCE, SET_ASIDE = record_pb2.ScheduleChange.STATE_IN_FORCE, record_pb2.ScheduleChange.STATE_SET_ASIDE


class Person:
    """Somebody with a role, over TLS."""

    def __init__(self, collector: RunningCollector, secret: str) -> None:
        self.channel = collector.people_channel()
        self.stub = FleetServiceStub(self.channel)
        self.metadata = (("authorization", f"Bearer {secret}"),)

    def set(
        self, name: str, *, dry: bool = False, schedule: dict[str, Any] | None = None, **selection: Any
    ) -> Any:
        """The quick suite every hour unless `schedule` says otherwise."""
        said = {"run_checks": {"suite": "quick", "splay_seconds": 600.0}, "every_seconds": HOUR}
        request = fleet.SetScheduleRequest(
            selection=fleet.MachineSelection(**selection),
            schedule=wire.Schedule(name=name, **(said if schedule is None else schedule)),
            is_dry_run=dry,
        )
        return self.stub.SetSchedule(request, metadata=self.metadata, timeout=PATIENCE_SECONDS).schedule

    def remove(self, name: str) -> Any:
        request = fleet.RemoveScheduleRequest(name=name)
        return self.stub.RemoveSchedule(request, metadata=self.metadata, timeout=PATIENCE_SECONDS).schedule

    def runs(self) -> Any:
        return self.stub.ListRuns(fleet.ListRunsRequest(), metadata=self.metadata, timeout=PATIENCE_SECONDS)

    def run(self, run_id: str) -> Any:
        request = fleet.GetRunRequest(run_id=run_id)
        return self.stub.GetRun(request, metadata=self.metadata, timeout=PATIENCE_SECONDS).run

    def listed(self, name: str = "") -> Any:
        request = fleet.ListSchedulesRequest(name=name)
        return self.stub.ListSchedules(request, metadata=self.metadata, timeout=PATIENCE_SECONDS).schedules

    def rows(self, sql: str) -> list[dict[str, Any]]:
        import pyarrow as pa

        request = fleet.QueryRequest(sql=sql)
        parts = self.stub.Query(request, metadata=self.metadata, timeout=200)
        with pa.ipc.open_stream(b"".join(part.arrow_ipc for part in parts)) as reader:
            return reader.read_all().to_pylist()


@pytest.fixture
def own_collector(tmp_path: Path) -> Iterator[RunningCollector]:
    """A condition's process has a low priority: beside other work it may wait long for its turn."""
    running = RunningCollector(tmp_path / "data", "--heartbeat-seconds", "1", "--sql-seconds", "200")
    yield running
    running.stop()


@pytest.fixture
def admin(own_collector: RunningCollector) -> Iterator[Person]:
    person = Person(own_collector, own_collector.admin_secret)
    yield person
    person.channel.close()


def connected(enrolled: EnrolledMachine, **hello: Any) -> AgentStream:
    """A stream of an agent that goes by schedules."""
    return enrolled.connect(hello.pop("spool_id", new_id()), capabilities=["schedules"], **hello)


def told(stream: AgentStream, *names: str) -> list[wire.Schedule]:
    """What the machine is told, once it has these names: it may be told in steps."""
    schedules = list(stream.receive("schedules").schedules)
    while [each.name for each in schedules] != list(names):
        schedules = list(stream.receive("schedules").schedules)
    return schedules


def label(collector: RunningCollector, machine: EnrolledMachine, *changes: str) -> None:
    done = run_command("machine", "label", "--data", str(collector.folder), machine.machine_id, *changes)
    assert done.returncode == 0, done.stderr


def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as error:
        call()
    return error.value.code(), error.value.details()


def audit(collector: RunningCollector) -> list[tuple[str, str, str]]:
    with contextlib.closing(sqlite3.connect(collector.folder / "identity.db")) as connection:
        query = "SELECT action, subject, detail FROM audit WHERE action LIKE 'schedule.%'"
        return connection.execute(query).fetchall()


def test_a_connected_machine_is_told_at_once(own_collector: RunningCollector, admin: Person) -> None:
    """Nothing at first; then what is set, what takes its place, and that it is removed."""
    machine = own_collector.enrol()
    stream = connected(machine)
    told(stream)
    first = admin.set("hourly", machines=["m2-ultra"])
    (hourly,) = told(stream, "hourly")
    assert (hourly.schedule_id, hourly.every_seconds) == (first.schedule.schedule_id, HOUR)
    assert (hourly.run_checks.suite, hourly.run_checks.splay_seconds) == ("quick", 600.0)
    assert [one.machine_id for one in first.machines] == [machine.machine_id]
    nightly = {"run_checks": {"checks": ["torch_basics"]}, "at": "0 3 * * 1-5"}
    second = admin.set("hourly", schedule=nightly, all=True)
    (anew,) = told(stream, "hourly")
    assert (anew.at, list(anew.run_checks.checks)) == ("0 3 * * 1-5", ["torch_basics"])
    assert anew.schedule_id == second.schedule.schedule_id != first.schedule.schedule_id
    assert [one.schedule.name for one in admin.listed()] == ["hourly"]
    admin.remove("hourly")
    told(stream)
    assert list(admin.listed()) == []
    stream.close()


def test_it_is_for_machines_that_come_later(own_collector: RunningCollector, admin: Person) -> None:
    """One enrolled afterwards, and one that was away; an agent that knows no schedules is spared them."""
    away = own_collector.enrol("away")
    admin.set("daily", all=True)
    later = own_collector.enrol("later")
    for machine in (away, later):
        stream = connected(machine)
        told(stream, "daily")
        stream.close()
    old = later.connect(new_id(), capabilities=["commands"])
    assert old.receive("heartbeat").HasField("sent_at")
    old.close()
    assert sorted(one.hostname for one in admin.listed("daily")[0].machines) == ["away", "later"]


def test_a_condition_follows_the_facts_of_a_machine(own_collector: RunningCollector, admin: Person) -> None:
    """A Mac that says another system at its next Hello is told, or no longer."""
    machine, spool_id = own_collector.enrol(), new_id()
    facts = {"hostname": "m2-ultra", "chip": "Apple M2 Ultra", "os_version": "26.2"}
    admin.set("newest", where="os_version = '26.3' -- the one that broke", all=False)
    stream = connected(machine, spool_id=spool_id, machine=facts)
    told(stream)
    stream.close()
    again = connected(machine, spool_id=spool_id, machine={**facts, "os_version": "26.3"})
    told(again)
    admin.set("other", all=True)  # has it looked at before the minute is over
    told(again, "newest", "other")
    again.close()


def test_labels_narrow_and_are_looked_at_again(own_collector: RunningCollector, admin: Person) -> None:
    """What another process labels counts at the next look."""
    machine = own_collector.enrol()
    stream = connected(machine)
    told(stream)
    chosen = admin.set("in-b12", labels=["room=b12"])
    assert list(chosen.machines) == []
    label(own_collector, machine, "room=b12")
    admin.set("other", labels=["room"])
    told(stream, "in-b12", "other")
    stream.close()


def test_a_collector_that_was_killed_tells_all_the_same(own_collector: RunningCollector) -> None:
    """It was on the disk before anybody was told; a new database under it changes nothing."""
    machine = own_collector.enrol()
    admin = Person(own_collector, own_collector.admin_secret)
    schedule = admin.set("daily", all=True).schedule
    admin.set("gone", all=True)
    admin.remove("gone")
    own_collector.stop(9)
    for path in own_collector.folder.glob("llmenv.duckdb*"):
        path.unlink()
    done = run_command("restore", "--data", str(own_collector.folder), "--empty")
    assert done.returncode == 0, done.stderr
    own_collector.start()
    stream = connected(machine)
    assert told(stream, "daily") == [schedule]
    later = Person(own_collector, own_collector.admin_secret)
    rows = later.rows("SELECT name, removed_at IS NULL AS counts FROM schedules ORDER BY set_at")
    assert rows == [{"name": "daily", "counts": True}, {"name": "gone", "counts": False}]
    stream.close()


def facts_of(run: Run) -> list[tuple[str, str]]:
    """As the page of a run shows them."""
    facts = run_page.facts_table(run, Wording("en", is_live=True))
    return [(name.text, value.text) for name, value in facts.rows]


def test_what_a_machine_makes_of_it_is_seen(own_collector: RunningCollector, admin: Person) -> None:
    """In the listing and in SQL, with the run that it started; and who set it, in the audit."""
    machine = own_collector.enrol()
    stream = connected(machine, machine={"hostname": "m2-ultra"})
    told(stream)
    schedule = admin.set("daily", all=True).schedule
    told(stream, "daily")
    said = {"schedule_id": schedule.schedule_id, "schedule_name": "daily"}
    run = {"run_id": new_id(), "suite": "quick", "schedule_name": "daily", "started_at": {"seconds": 10**9}}
    records = [
        machine.record(schedule_change={**said, "state": SET_ASIDE, "reason": "agent.toml has it"}),
        machine.record(schedule_change={**said, "state": IN_FORCE}),
        machine.record(run_started={"run": {**run, "schedule_id": schedule.schedule_id}}),
    ]
    stream.deliver(records, first=1)
    assert stream.receive("acknowledged").watermark == 3
    ((one,),) = [each.machines for each in admin.listed("daily")]
    assert (one.hostname, one.state, one.reason, one.runs) == ("m2-ultra", IN_FORCE, "", 1)
    assert (one.last_run_id, one.is_connected) == (run["run_id"], True)
    assert admin.rows("SELECT schedule_name, schedule_id::VARCHAR AS id FROM runs") == [
        {"schedule_name": "daily", "id": schedule.schedule_id}
    ]
    assert [each.schedule_name for each in admin.runs().runs] == ["daily"]
    assert ("Schedule", "daily") in facts_of(admin.run(run["run_id"]))
    admin.remove("daily")
    assert [each[:2] for each in audit(own_collector)] == [
        ("schedule.set", "daily"),
        ("schedule.remove", "daily"),
    ]
    assert "every 3600 s: suite quick, by token " in audit(own_collector)[0][2]
    stream.close()


def test_a_condition_that_fails_takes_nothing_away(own_collector: RunningCollector, admin: Person) -> None:
    """It held when it was set; then machines keep what they have of it, and the listing says why."""
    machine = own_collector.enrol()
    admin.set("fragile", where="coalesce(labels['shelf'], '1')::INTEGER < 5")
    stream = connected(machine)
    told(stream, "fragile")
    label(own_collector, own_collector.enrol("second"), "shelf=top")
    admin.set("other", all=True)
    last = stream.receive("schedules")
    while [each.name for each in last.schedules] != ["other"]:
        last = stream.receive("schedules")
    assert list(last.undecided) == ["fragile"]
    fragile = admin.listed("fragile")[0]
    assert "It cannot be computed for every machine" in fragile.trouble
    assert [one.hostname for one in fragile.machines] == ["m2-ultra"]
    stream.close()


def test_a_dry_run_only_says_whom_it_would_be_for(collector: RunningCollector) -> None:
    """Nothing is kept."""
    admin = Person(collector, collector.admin_secret)
    collector.enrol()
    shown = admin.set("daily", dry=True, all=True)
    assert ([one.hostname for one in shown.machines], shown.schedule.schedule_id) == (["m2-ultra"], "")
    assert (list(admin.listed()), audit(collector)) == ([], [])


@pytest.mark.parametrize(
    ("schedule", "selection", "sentence"),
    [
        ({"run_checks": {"suite": "quick"}}, {"all": True}, "either how often it runs or at what times"),
        ({"run_checks": {"suite": "quick"}, "every_seconds": 1.0}, {"all": True}, "every minute at most"),
        ({"run_checks": {"suite": "quick"}, "at": "0 3 * *"}, {"all": True}, "has 4 fields, not five"),
        ({"every_seconds": HOUR}, {"all": True}, "either a suite or checks"),
        (
            {"run_checks": {"suite": "quick", "splay_seconds": 7200.0}, "every_seconds": HOUR},
            {"all": True},
            "longer than the interval",
        ),
        (None, {}, "Say which machines"),
        (None, {"machines": ["nobody"]}, "No machine is called 'nobody'"),
        (None, {"where": "chp = 1"}, "The condition cannot be used"),
    ],
    ids=[
        "no-times",
        "too-often",
        "no-cron",
        "nothing-to-run",
        "long-splay",
        "no-machines",
        "nobody",
        "no-sql",
    ],
)
def test_what_cannot_be_is_refused_in_one_sentence(
    collector: RunningCollector, *, schedule: Any, selection: Any, sentence: str
) -> None:
    """And nothing is kept."""
    admin = Person(collector, collector.admin_secret)
    code, details = refused(lambda: admin.set("daily", schedule=schedule, **selection))
    assert code in {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND}
    assert sentence in details
    assert list(admin.listed()) == []


def test_names_are_names_and_there_are_so_many(own_collector: RunningCollector, admin: Person) -> None:
    """Setting one anew is always possible; a name that nobody can type is refused."""
    assert "names no schedule" in refused(lambda: admin.set("a b", all=True))[1]
    assert "There is no schedule 'daily'; there are: none" in refused(lambda: admin.remove("daily"))[1]
    viewer = Person(own_collector, PrintedToken.parse(token(own_collector, "viewer")).secret)
    admin.set("daily", all=True)
    assert [one.schedule.name for one in viewer.listed()] == ["daily"]
    assert refused(lambda: viewer.set("mine", all=True))[0] is grpc.StatusCode.PERMISSION_DENIED
    assert refused(lambda: viewer.remove("daily"))[0] is grpc.StatusCode.PERMISSION_DENIED
    wait_until(lambda: [one.schedule.name for one in viewer.listed()] == ["daily"])


def token(collector: RunningCollector, role: str) -> str:
    done = run_command("token", "create", "--data", str(collector.folder), "--role", role)
    assert done.returncode == 0, done.stderr
    return done.stdout
