"""Delivery over real TLS sockets: nothing lost, nothing twice, nothing acknowledged too early."""

from __future__ import annotations

import asyncio
import hashlib
import signal
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from llmenv.fleet.v1 import record_pb2
from llmenv.fleet.v1.agent_service_pb2 import ConnectRequest, ConnectResponse
from llmenv.ids import new_id
from llmenv_collector.delivery.house import House
from llmenv_collector.delivery.room import Room
from llmenv_collector.delivery.servicer import AgentServicer
from llmenv_collector.delivery.sightings import Sightings
from llmenv_collector.delivery.streams import Streams
from llmenv_collector.errors import SupersededError
from llmenv_collector.serving.gate import MACHINE, translated
from llmenv_collector.storage.store import Store

from .conftest import PATIENCE_SECONDS, run_command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from .conftest import AgentStream, EnrolledMachine, RunningCollector


@pytest.fixture
def machine(collector: RunningCollector) -> EnrolledMachine:
    return collector.enrol()


def chained(records: list[bytes]) -> bytes:
    digest = bytes(32)
    for record in records:
        digest = hashlib.sha256(digest + record).digest()
    return digest


def test_a_new_spool_starts_at_zero(machine: EnrolledMachine) -> None:
    """Welcome to an unknown spool says watermark 0 and no digest."""
    stream = machine.connect(new_id())
    assert (stream.welcome.watermark, stream.welcome.digest) == (0, b"")
    stream.close()


def test_records_are_acknowledged_and_resumed_from(machine: EnrolledMachine) -> None:
    """After a reconnect Welcome carries the watermark and the digest chained over all records."""
    spool_id, records = new_id(), [machine.check_started() for _ in range(5)]
    stream = machine.connect(spool_id)
    stream.deliver(records[:3], first=1)
    assert stream.receive("acknowledged").watermark == 3
    stream.deliver(records[3:], first=4)
    assert stream.receive("acknowledged").watermark == 5
    stream.close()
    again = machine.connect(spool_id)
    assert (5, chained(records)) == (again.welcome.watermark, again.welcome.digest)
    again.close()


def test_duplicates_are_dropped(machine: EnrolledMachine) -> None:
    """What is sent again does not move the watermark, and what is new behind it does."""
    spool_id, records = new_id(), [machine.check_started() for _ in range(4)]
    stream = machine.connect(spool_id)
    for end in (3, 3, 4):
        stream.deliver(records[:end], first=1)
        assert end == stream.receive("acknowledged").watermark
    stream.close()
    assert chained(records) == machine.connect(spool_id).welcome.digest


def test_a_jump_is_refused(machine: EnrolledMachine) -> None:
    """A sequence that does not follow ends the stream with OUT_OF_RANGE and stores nothing."""
    spool_id = new_id()
    stream = machine.connect(spool_id)
    stream.deliver([machine.check_started()], first=1)
    stream.deliver([machine.check_started()], first=3)
    assert stream.status() == grpc.StatusCode.OUT_OF_RANGE
    assert machine.connect(spool_id).welcome.watermark == 1


def test_a_tombstone_covers_its_sequences(machine: EnrolledMachine) -> None:
    """A tombstone takes the numbers of the records that the spool had to drop."""
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    tombstone = record_pb2.Tombstone(first_sequence=2, last_sequence=9, dropped_records=8, reason="full")
    stream.deliver([machine.record(tombstone=tombstone)], first=9)
    stream.deliver([machine.check_started()], first=10)
    assert [stream.receive("acknowledged").watermark for _ in range(3)][-1] == 10
    stream.close()


def test_a_poison_record_is_rejected_alone(machine: EnrolledMachine) -> None:
    """The rest goes on, and the rejection is repeated in Welcome until it is confirmed."""
    spool_id = new_id()
    stream = machine.connect(spool_id)
    stream.deliver([machine.check_started(), b"\xff\xff", machine.check_started()], first=1)
    assert stream.receive("rejected").sequence == 2
    assert stream.receive("acknowledged").watermark == 3
    stream.close()
    again = machine.connect(spool_id)
    assert [one.sequence for one in again.welcome.rejections] == [2]
    again.send(rejection_confirmed={"sequence": 2})
    again.close()
    assert list(machine.connect(spool_id).welcome.rejections) == []


def test_another_machines_record_is_rejected(machine: EnrolledMachine) -> None:
    """The id inside every record must be the id in the certificate."""
    stream = machine.connect(new_id())
    stream.deliver([machine.record(machine_id=new_id(), check_started=record_pb2.CheckStarted())], first=1)
    assert machine.machine_id in stream.receive("rejected").reason
    stream.close()


def test_hello_of_another_machine_is_refused(machine: EnrolledMachine) -> None:
    """A machine cannot speak for another one."""
    with pytest.raises(grpc.RpcError) as refused:
        machine.connect(new_id(), machine_id=new_id())
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_another_machines_spool_is_refused(collector: RunningCollector, machine: EnrolledMachine) -> None:
    """A machine cannot move the watermark of another one's spool."""
    spool_id = new_id()
    stream = machine.connect(spool_id)
    stream.deliver([machine.check_started()], first=1)
    stream.receive("acknowledged")
    with pytest.raises(grpc.RpcError) as refused:
        collector.enrol().connect(spool_id)
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def test_an_unspoken_revision_is_refused(machine: EnrolledMachine) -> None:
    """An agent that speaks only newer revisions is told so."""
    with pytest.raises(grpc.RpcError) as refused:
        machine.connect(new_id(), protocol_revision=9, oldest_protocol_revision=9)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


def test_the_newest_stream_of_a_spool_wins(machine: EnrolledMachine) -> None:
    """The older stream ends with ABORTED; the newer one goes on."""
    spool_id = new_id()
    older, newer = machine.connect(spool_id), machine.connect(spool_id)
    assert older.status() == grpc.StatusCode.ABORTED
    newer.deliver([machine.check_started()], first=1)
    assert newer.receive("acknowledged").watermark == 1
    newer.close()


def test_another_machine_that_says_the_same_spool_ends_no_stream(
    collector: RunningCollector, machine: EnrolledMachine
) -> None:
    """Only the machine's own newer stream takes over."""
    spool_id = new_id()
    stream = machine.connect(spool_id)
    collector.enrol().connect(spool_id).close()
    stream.deliver([machine.check_started()], first=1)
    assert stream.receive("acknowledged").watermark == 1
    stream.close()


def test_a_superseded_stream_delivers_nothing_more() -> None:
    """Else the newer one's first records would pass for duplicates of the older one's."""
    streams, spool_id, machine_id = Streams(), new_id(), new_id()
    with streams.open(spool_id=spool_id, machine_id=machine_id) as older:
        older.require_current()
        with streams.open(spool_id=spool_id, machine_id=machine_id) as newer:
            newer.require_current()
            with pytest.raises(SupersededError):
                older.require_current()


def test_heartbeats_go_between_acknowledgements(own_collector: RunningCollector) -> None:
    """A stream on which much is said stays open while its heartbeat is due."""
    machine = own_collector.enrol()
    stream = machine.connect(new_id())
    for start in range(0, 20_000, 4_000):
        stream.deliver([b"\xff"] * 4_000, first=start + 1)
    kinds: Counter[str] = Counter()
    while kinds["acknowledged"] < 5 or not kinds["heartbeat"]:
        response = stream.incoming.get(timeout=PATIENCE_SECONDS)
        assert not isinstance(response, grpc.RpcError | None), response
        kinds[response.WhichOneof("message") or ""] += 1
    assert kinds["rejected"] == 20_000
    stream.close()


def test_an_agent_that_goes_away_is_no_fault_of_the_collector(tmp_path: Path) -> None:
    """gRPC's word for a message to nobody ends the stream quietly, as a line of the log."""

    class Nobody:
        async def write(self, _response: ConnectResponse) -> None:
            raise grpc.aio.InternalError("the connection is gone")

    async def hello(machine_id: str) -> AsyncIterator[ConnectRequest]:
        yield ConnectRequest(hello={"machine_id": machine_id, "spool_id": new_id(), "protocol_revision": 1})

    async def connect(servicer: AgentServicer, context: Any) -> None:
        MACHINE.set(machine_id := new_id())
        async with translated(context):
            await servicer.Connect(hello(machine_id), context)
            pytest.fail("it was written to somebody")

    store = Store(tmp_path / "llmenv.duckdb")
    house = House(store, Streams(), Room(), Sightings(store), heartbeat_seconds=9.0, version="1")
    asyncio.run(connect(AgentServicer(house), Nobody()))
    store.close()


def test_a_batch_of_too_many_records_is_refused(machine: EnrolledMachine) -> None:
    """What a group may hold at once is bounded also for records of no size."""
    stream = machine.connect(new_id())
    stream.deliver([b""] * 4_097, first=1)
    assert stream.status() == grpc.StatusCode.INVALID_ARGUMENT


def test_goodbye_ends_a_stream_in_order(machine: EnrolledMachine) -> None:
    """What was sent before Goodbye is acknowledged, then the stream ends with OK."""
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    stream.send(goodbye={"reason": "stopping"})
    assert stream.receive("acknowledged").watermark == 1
    assert stream.status() == grpc.StatusCode.OK


def test_a_forked_spool_stores_its_records_once(own_collector: RunningCollector) -> None:
    """Records keep their ids when a spool is renumbered, and are not stored again."""
    machine, spool_id = own_collector.enrol(), new_id()
    records = [machine.check_started() for _ in range(3)]
    stream = machine.connect(spool_id)
    stream.deliver(records, first=1)
    stream.receive("acknowledged")
    stream.close()
    forked = machine.record(
        spool_forked=record_pb2.SpoolForked(previous_spool_id=spool_id, shared_sequence=2)
    )
    stream = machine.connect(new_id())
    stream.deliver([forked, *records[1:], machine.check_started()], first=1)
    assert stream.receive("acknowledged").watermark == 4
    stream.close()
    own_collector.stop()
    with own_collector.database() as database:
        assert database.sql("SELECT count(*), count(DISTINCT record_id) FROM store.record").fetchall() == [
            (5, 5)
        ]
        assert database.sql("SELECT count(*) FROM store.check_start").fetchall() == [(4,)]


def test_a_collector_that_stops_says_drain(own_collector: RunningCollector) -> None:
    """On SIGTERM the stream gets its acknowledgements, then Drain, and the process ends with 0."""
    machine = own_collector.enrol()
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    stream.receive("acknowledged")
    assert own_collector.stop() == 0
    kinds = []
    while (response := stream.incoming.get(timeout=PATIENCE_SECONDS)) is not None:
        assert not isinstance(response, grpc.RpcError), response
        kinds.append(response.WhichOneof("message"))
    assert kinds[-1] == "drain"


def test_a_revoked_machine_is_cut_off(own_collector: RunningCollector) -> None:
    """An open stream ends at the next heartbeat, and a new one is refused."""
    machine = own_collector.enrol("to-be-revoked")
    stream = machine.connect(new_id())
    done = run_command("machine", "revoke", "to-be-revoked", "--data", str(own_collector.folder))
    assert done.returncode == 0, done.stderr
    assert stream.status() == grpc.StatusCode.PERMISSION_DENIED
    with pytest.raises(grpc.RpcError) as refused:
        machine.connect(new_id())
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED


def next_watermark(stream: AgentStream) -> int:
    """That of the next acknowledgement; a collector with much to do says in between that it lives."""
    while (response := stream.incoming.get(timeout=PATIENCE_SECONDS)).WhichOneof("message") == "heartbeat":
        pass
    assert response.WhichOneof("message") == "acknowledged", response
    return int(response.acknowledged.watermark)


@pytest.mark.parametrize("acknowledgements", [1, 7, 20])
def test_kill_9_loses_nothing_acknowledged(own_collector: RunningCollector, acknowledgements: int) -> None:
    """The collector is killed during a load; after resuming by watermark every record is stored once."""
    machine, spool_id = own_collector.enrol(), new_id()
    records = [machine.check_started() for _ in range(600)]
    stream = machine.connect(spool_id)
    for start in range(0, len(records), 10):
        stream.deliver(records[start : start + 10], first=start + 1)
    acknowledged = [next_watermark(stream) for _ in range(acknowledgements)][-1]
    own_collector.stop(signal.SIGKILL)
    own_collector.start()
    again = machine.connect(spool_id)
    watermark = again.welcome.watermark
    assert acknowledged <= watermark <= len(records)
    assert chained(records[:watermark]) == again.welcome.digest
    if watermark < len(records):
        again.deliver(records[watermark:], first=watermark + 1)
        assert len(records) == next_watermark(again)
    again.close()
    own_collector.stop()
    with own_collector.database() as database:
        counts = database.sql(
            "SELECT count(*), count(DISTINCT record_id), max(sequence) FROM store.record"
        ).fetchall()
        assert counts == [(600, 600, 600)]
        assert database.sql("SELECT sequence, stored FROM store.watermark").fetchall() == [(600, 600)]
