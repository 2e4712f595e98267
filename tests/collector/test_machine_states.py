"""What people decide about machines: approve, rename, retire, revoke and forget, while they deliver."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, cast

import duckdb
import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from llmenv.fleet.v1 import enrollment_service_pb2, fleet_report_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv_collector.delivery.streams import Streams
from llmenv_collector.errors import ForbiddenError
from llmenv_collector.identity import forgetting, machine_register
from llmenv_collector.identity.identity_file import Identity, enter
from llmenv_collector.identity.identity_schema import FIRST
from llmenv_collector.identity.identity_watch import IdentityWatch
from llmenv_collector.identity.standing import State
from llmenv_collector.serving.open_calls import OpenCalls
from llmenv_collector.storage import migrate

from .conftest import (
    AgentStream,
    EnrolledMachine,
    RunningCollector,
    key_pem,
    run_command,
    signing_request,
    wait_until,
)
from .test_schemas import fill

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def on(collector: RunningCollector, *arguments: str) -> str:
    """What a command says on stderr."""
    done = run_command(*arguments, "--data", str(collector.folder))
    assert done.returncode == 0, done.stderr
    return done.stderr


def enrolled_with(collector: RunningCollector, secret: str, hostname: str) -> EnrolledMachine:
    key = ec.generate_private_key(ec.SECP256R1())
    with collector.people_channel() as channel:
        response = EnrollmentServiceStub(channel).Enroll(
            enrollment_service_pb2.EnrollRequest(
                token=secret,
                certificate_signing_request=signing_request(key),
                machine={"hostname": hostname, "chip": "Apple M1"},
            )
        )
    return EnrolledMachine(collector, response.machine_id, key_pem(key), response.certificate_pem.encode())


def hello(machine: EnrolledMachine, spool_id: str) -> AgentStream:
    """A stream that has said Hello and nothing else."""
    stream = AgentStream(machine)
    stream.send(hello={"machine_id": machine.machine_id, "spool_id": spool_id, "protocol_revision": 1})
    return stream


def asked(collector: RunningCollector, ask: Callable[[Any, Any], Any]) -> Any:
    """What an admin is answered."""
    metadata = [("authorization", f"Bearer {collector.admin_secret}")]
    with collector.people_channel() as channel:
        return ask(FleetServiceStub(channel), metadata)


def coverage(collector: RunningCollector) -> Any:
    request = fleet_report_pb2.GetFleetReportRequest()
    return asked(collector, lambda stub, who: stub.GetFleetReport(request, metadata=who)).coverage


def listed(collector: RunningCollector) -> dict[str, Any]:
    """Machines by id."""
    request = fleet.ListMachinesRequest()
    answer = asked(collector, lambda stub, who: stub.ListMachines(request, metadata=who))
    return {one.machine.machine_id: one for one in answer.machines}


def state_of(collector: RunningCollector, machine: EnrolledMachine) -> str:
    (line,) = [
        line
        for line in run_command("machine", "list", "--data", str(collector.folder)).stdout.splitlines()
        if line.startswith(machine.machine_id)
    ]
    return next(state.value for state in State if f" {state.value} " in f"{line} ")


def test_machines_of_a_roll_out_wait_and_lose_nothing(own_collector: RunningCollector) -> None:
    """They connect, are told that they wait, deliver nothing, and begin as soon as one approves them."""
    secret = own_collector.secret("--uses", "2", "--ttl", "8h", "--machine-label", "room=b12")
    first, second = (enrolled_with(own_collector, secret, name) for name in ("first", "second"))
    with pytest.raises(grpc.RpcError, match="already used"):
        enrolled_with(own_collector, secret, "third")
    spool_id = new_id()
    waiting, other = hello(first, spool_id), hello(second, new_id())
    assert "waits for approval" in waiting.receive("waiting").reason
    assert "waits for approval" in other.receive("waiting").reason
    assert (coverage(own_collector).machines, coverage(own_collector).pending) == (0, 2)
    assert listed(own_collector)[first.machine_id].state == fleet.MACHINE_STATE_PENDING
    assert state_of(own_collector, first) == "pending"
    other.deliver([second.check_started()], first=1)
    assert other.status() == grpc.StatusCode.PERMISSION_DENIED

    on(own_collector, "machine", "approve", "first")
    assert waiting.receive("drain").reconnect_after_seconds <= 1.0
    assert waiting.status() == grpc.StatusCode.OK
    stream = first.connect(spool_id)
    stream.deliver([first.check_started()], first=1)
    assert stream.receive("acknowledged").watermark == 1
    assert (coverage(own_collector).machines, coverage(own_collector).pending) == (1, 1)
    stream.close()

    assert "Approved second" in on(own_collector, "machine", "approve", "--label", "room=b12")
    refused = run_command("machine", "approve", "--all", "--data", str(own_collector.folder))
    assert (refused.returncode, "No such machine waits" in refused.stderr) == (1, True)
    second.connect(new_id()).close()


def test_a_machine_is_called_what_people_call_it(own_collector: RunningCollector) -> None:
    """In listings and in the store, also of what comes later; another one's name is refused."""
    machine, other = own_collector.enrol("mac-1"), own_collector.enrol("mac-2")
    on(own_collector, "machine", "rename", "mac-1", "trainer")
    facts = {"hostname": "mac-1", "chip": "Apple M2 Ultra"}
    stream = machine.connect(new_id(), machine=facts)
    wait_until(lambda: listed(own_collector)[machine.machine_id].machine.hostname == "trainer")
    stream.close()
    later = machine.connect(new_id(), machine=facts)
    assert listed(own_collector)[machine.machine_id].machine.hostname == "trainer"
    later.close()
    taken = run_command("machine", "rename", other.machine_id, "trainer", "--data", str(own_collector.folder))
    assert "Another machine is called 'trainer'" in taken.stderr
    assert "trainer" in on(own_collector, "machine", "label", "trainer", "room=b12")
    own_collector.stop()
    with own_collector.database() as store:
        rows = store.execute("SELECT hostname FROM v1.machines ORDER BY hostname").fetchall()
    assert rows == [("mac-2",), ("trainer",)]


def test_a_retired_machine_is_ended_and_not_missed(own_collector: RunningCollector) -> None:
    """Its stream ends, it is not counted as silent, and `approve` takes it back."""
    machine = own_collector.enrol("old")
    stream = machine.connect(new_id())
    assert coverage(own_collector).machines == 1
    on(own_collector, "machine", "retire", "old")
    assert stream.status() == grpc.StatusCode.PERMISSION_DENIED
    assert hello(machine, new_id()).status() == grpc.StatusCode.PERMISSION_DENIED
    found = coverage(own_collector)
    assert (found.machines, len(found.silent), found.pending) == (0, 0, 0)
    assert listed(own_collector)[machine.machine_id].state == fleet.MACHINE_STATE_RETIRED
    on(own_collector, "machine", "approve", "old")
    machine.connect(new_id()).close()


def test_revoking_ends_every_stream_and_outlives_a_restart(own_collector: RunningCollector) -> None:
    """However many the machine has open; another machine's goes on."""
    machine, other = own_collector.enrol("stolen"), own_collector.enrol("kept")
    streams = [machine.connect(new_id()) for _ in range(3)]
    kept = other.connect(new_id())
    on(own_collector, "machine", "revoke", "stolen")
    assert [one.status() for one in streams] == [grpc.StatusCode.PERMISSION_DENIED] * 3
    kept.deliver([other.check_started()], first=1)
    assert kept.receive("acknowledged").watermark == 1
    kept.close()
    own_collector.stop()
    own_collector.start()
    assert hello(machine, new_id()).status() == grpc.StatusCode.PERMISSION_DENIED
    refused = run_command("machine", "approve", "stolen", "--data", str(own_collector.folder))
    assert "revoked for good" in refused.stderr


class StuckStore:
    """A write to it never comes back."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()

    def name(self, _names: object) -> Future[None]:
        self.asked.set()
        return Future()


class FailingStore:
    """DuckDB fails once at each thing that is asked of it; the second time it goes well."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.is_copied = asyncio.Event()

    def name(self, _names: object) -> Future[None]:
        return self._answer("name")

    def request(self, _act: object) -> Future[None]:
        return self._answer("request")

    def _answer(self, what: str) -> Future[None]:
        done: Future[None] = Future()
        self.asked.append(what)
        if self.asked.count(what) == 1:
            done.set_exception(duckdb.IOException(f"{what} failed"))
        else:
            done.set_result(None)
        return done

    @contextlib.contextmanager
    def reader(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The audit was never copied before the third look, and is afterwards."""
        self.asked.append("reader")
        if self.asked.count("reader") == 1:
            raise duckdb.IOException("reader failed")
        with contextlib.closing(duckdb.connect()) as connection:
            connection.execute("CREATE SCHEMA store; CREATE TABLE store.audit (audit_no BIGINT)")
            if self.asked.count("request") > 1:
                connection.execute("INSERT INTO store.audit VALUES (1_000_000)")
                self.is_copied.set()
            yield connection


def test_names_and_audit_go_on_after_duckdb_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each failure is logged, and what failed is done at the next look."""
    identity, store = Identity.create(tmp_path / "identity.db"), FailingStore()
    machine_id = new_id()
    with identity.changes() as connection:
        enter(connection, machine_id)
    machine_register.rename(identity, machine_id, "studio")

    async def copies() -> None:
        watch = IdentityWatch(
            identity=identity, store=cast("Any", store), streams=Streams(), calls=OpenCalls()
        )
        copying = asyncio.create_task(watch.keep_copying(0.01))
        await asyncio.wait_for(store.is_copied.wait(), 60)
        assert not copying.done()
        copying.cancel()

    asyncio.run(copies())
    for what in ("name", "reader", "request"):
        assert f"waits: {what} failed" in caplog.text


def test_revoking_does_not_wait_for_the_store(tmp_path: Path) -> None:
    """Its streams end within a look, although names and audit wait for a write that never comes back."""
    identity = Identity.create(tmp_path / "identity.db")
    machine_id, streams, stuck = new_id(), Streams(), StuckStore()
    with identity.changes() as connection:
        enter(connection, machine_id)
    machine_register.rename(identity, machine_id, "stolen")

    async def ends() -> None:
        watch = IdentityWatch(identity=identity, store=cast("Any", stuck), streams=streams, calls=OpenCalls())
        tasks = [asyncio.create_task(work(0.01)) for work in (watch.keep_up, watch.keep_copying)]
        with streams.open(spool_id=new_id(), machine_id=machine_id) as stream:
            with streams.open(spool_id=new_id(), machine_id=machine_id, is_pending=True) as pending:
                await asyncio.wait_for(pending.ending(), 60)
            assert pending.why is None
            assert not stream.ending().done()
            await asyncio.wait_for(stuck.asked.wait(), 60)
            await asyncio.to_thread(identity.revoke_machine, machine_id)
            await asyncio.wait_for(stream.ending(), 60)
            with pytest.raises(ForbiddenError, match="was revoked"):
                stream.require_current()
        for task in tasks:
            assert not task.done()
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(ends())


def deliver_one(machine: EnrolledMachine) -> None:
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    stream.receive("acknowledged")
    stream.close()


def stored_ids(collector: RunningCollector) -> set[str]:
    """Of the stopped collector: machines of which any table has a row."""
    with collector.database() as store:
        found = [
            store.execute(f"SELECT machine_id::VARCHAR FROM store.{table}").fetchall()
            for table in forgetting.tables(store)
        ]
    return {machine_id for rows in found for (machine_id,) in rows}


def test_forgetting_removes_everything_but_the_id(own_collector: RunningCollector) -> None:
    """While it serves and while it does not; the certificate brings nothing back."""
    serving, stopped, kept = (own_collector.enrol(name) for name in ("one", "two", "three"))
    for machine in (serving, stopped, kept):
        deliver_one(machine)
    on(own_collector, "machine", "forget", "one", "--yes")
    wait_until(lambda: serving.machine_id not in listed(own_collector))
    wait_until(lambda: any("removed what 1 forgotten" in line for line in own_collector.log))
    assert hello(serving, new_id()).status() == grpc.StatusCode.PERMISSION_DENIED
    own_collector.stop()
    on(own_collector, "machine", "forget", "two", "--yes")
    assert stored_ids(own_collector) == {kept.machine_id}
    with contextlib.closing(sqlite3.connect(own_collector.folder / "identity.db")) as identity:
        rows = identity.execute(
            "SELECT hostname, name FROM machine WHERE forgotten_at IS NOT NULL"
        ).fetchall()
        assert rows == [("", "")] * 2
        forgotten = identity.execute("SELECT subject FROM audit WHERE action = 'machine.forget'").fetchall()
    assert {subject for (subject,) in forgotten} == {serving.machine_id, stopped.machine_id}


def test_forgetting_asks_first(own_collector: RunningCollector) -> None:
    """Without an answer nothing is removed."""
    machine = own_collector.enrol("one")
    done = run_command("machine", "forget", "one", "--data", str(own_collector.folder))
    assert done.returncode != 0
    assert "Remove one" in done.stderr
    assert state_of(own_collector, machine) == "enrolled"


def test_forgetting_knows_every_table(tmp_path: Path) -> None:
    """A row of one machine in each table that has machines: none is left, and nothing of another's goes."""
    connection = migrate.connect(tmp_path / "llmenv.duckdb")
    migrate.migrate(connection)
    fill(connection)
    gone, kept = new_id(), new_id()
    tables = forgetting.tables(connection)
    for table in tables:
        connection.execute(f"UPDATE store.{table} SET machine_id = ?", [kept])
        connection.execute(
            f"INSERT INTO store.{table} SELECT * REPLACE (?::UUID AS machine_id) FROM store.{table}", [gone]
        )
    assert forgetting.lingering(connection, {gone}) == {gone}
    assert forgetting.forget(connection, {gone}) == len(tables)
    for table in tables:
        rows = connection.execute(f"SELECT machine_id::VARCHAR FROM store.{table}").fetchall()
        assert rows == [(kept,)], table
    connection.close()


def test_an_identity_file_of_the_first_schema_is_brought_forward(tmp_path: Path) -> None:
    """Machines that enrolled before are approved, and what was used stays used."""
    path = tmp_path / "identity.db"
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            f"{FIRST} PRAGMA user_version=1;"
            "INSERT INTO machine VALUES ('m', 'mac', 5, NULL);"
            "INSERT INTO token VALUES ('t', 'enrolment', '', x'00', 1, 9, 7, NULL, NULL);"
        )
    identity = Identity(path)
    (machine,) = identity.machines()
    assert (machine.hostname, machine.state) == ("mac", State.ENROLLED)
    with identity.reading() as connection:
        assert connection.execute("SELECT uses, used, used_at FROM token").fetchall() == [(1, 1, 7)]


@pytest.fixture
def stopped_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    assert run_command("init", "--data", str(folder)).returncode == 0
    return folder


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["machine", "approve"], "Name the machines, or give --label or --all."),
        (["machine", "approve", "m", "--all"], "Name the machines, or give --label or --all."),
        (["machine", "retire", "nobody"], "No machine is called 'nobody'"),
        (["token", "create", "--uses", "2", "--role", "viewer"], "of machines that enrol"),
        (["token", "create", "--machine-label", "room-"], "--machine-label is written key=value."),
        (["token", "create", "--ttl", "31d"], "good for 30 days at most"),
        (["token", "create", "--role", "admin", "--ttl", "367d"], "good for 366 days at most"),
    ],
    ids=["none", "both", "unknown", "uses-of-a-person", "label", "long-enrolment", "long-role"],
)
def test_what_cannot_be_is_refused(stopped_folder: Path, arguments: list[str], sentence: str) -> None:
    """One sentence."""
    done = run_command(*arguments, "--data", str(stopped_folder))
    assert (done.returncode in {1, 2}, sentence in done.stderr) == (True, True), done.stderr
