"""Delivery over real TLS sockets: nothing lost, nothing twice, nothing acknowledged too early."""

from __future__ import annotations

import hashlib
import signal
from typing import TYPE_CHECKING

import grpc
import pytest

from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id

if TYPE_CHECKING:
    from .conftest import EnrolledMachine, RunningCollector


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
    assert (0, b"") == (stream.welcome.watermark, stream.welcome.digest)
    stream.close()


def test_records_are_acknowledged_and_resumed_from(machine: EnrolledMachine) -> None:
    """After a reconnect Welcome carries the watermark and the digest chained over all records."""
    spool_id, records = new_id(), [machine.check_started() for _ in range(5)]
    stream = machine.connect(spool_id)
    stream.deliver(records[:3], first=1)
    assert 3 == stream.receive("acknowledged").watermark
    stream.deliver(records[3:], first=4)
    assert 5 == stream.receive("acknowledged").watermark
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
    assert grpc.StatusCode.OUT_OF_RANGE == stream.status()
    assert 1 == machine.connect(spool_id).welcome.watermark


def test_a_tombstone_covers_its_sequences(machine: EnrolledMachine) -> None:
    """A tombstone takes the numbers of the records that the spool had to drop."""
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    tombstone = record_pb2.Tombstone(first_sequence=2, last_sequence=9, dropped_records=8, reason="full")
    stream.deliver([machine.record(tombstone=tombstone)], first=9)
    stream.deliver([machine.check_started()], first=10)
    assert 10 == [stream.receive("acknowledged").watermark for _ in range(3)][-1]
    stream.close()


def test_a_poison_record_is_rejected_alone(machine: EnrolledMachine) -> None:
    """The rest goes on, and the rejection is repeated in Welcome until it is confirmed."""
    spool_id = new_id()
    stream = machine.connect(spool_id)
    stream.deliver([machine.check_started(), b"\xff\xff", machine.check_started()], first=1)
    assert 2 == stream.receive("rejected").sequence
    assert 3 == stream.receive("acknowledged").watermark
    stream.close()
    again = machine.connect(spool_id)
    assert [2] == [one.sequence for one in again.welcome.rejections]
    again.send(rejection_confirmed={"sequence": 2})
    again.close()
    assert [] == list(machine.connect(spool_id).welcome.rejections)


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
    assert grpc.StatusCode.UNAUTHENTICATED == refused.value.code()


def test_another_machines_spool_is_refused(collector: RunningCollector, machine: EnrolledMachine) -> None:
    """A machine cannot move the watermark of another one's spool."""
    spool_id = new_id()
    stream = machine.connect(spool_id)
    stream.deliver([machine.check_started()], first=1)
    stream.receive("acknowledged")
    with pytest.raises(grpc.RpcError) as refused:
        collector.enrol().connect(spool_id)
    assert grpc.StatusCode.PERMISSION_DENIED == refused.value.code()


def test_an_unspoken_revision_is_refused(machine: EnrolledMachine) -> None:
    """An agent that speaks only newer revisions is told so."""
    with pytest.raises(grpc.RpcError) as refused:
        machine.connect(new_id(), protocol_revision=9, oldest_protocol_revision=9)
    assert grpc.StatusCode.FAILED_PRECONDITION == refused.value.code()


def test_the_newest_stream_of_a_spool_wins(machine: EnrolledMachine) -> None:
    """The older stream ends with ABORTED; the newer one goes on."""
    spool_id = new_id()
    older, newer = machine.connect(spool_id), machine.connect(spool_id)
    assert grpc.StatusCode.ABORTED == older.status()
    newer.deliver([machine.check_started()], first=1)
    assert 1 == newer.receive("acknowledged").watermark
    newer.close()


def test_goodbye_ends_a_stream_in_order(machine: EnrolledMachine) -> None:
    """What was sent before Goodbye is acknowledged, then the stream ends with OK."""
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    stream.send(goodbye={"reason": "stopping"})
    assert 1 == stream.receive("acknowledged").watermark
    assert grpc.StatusCode.OK == stream.status()


def test_a_forked_spool_stores_its_records_once(own_collector: RunningCollector) -> None:
    """Records keep their ids when a spool is renumbered, and are not stored again."""
    machine, spool_id = own_collector.enrol(), new_id()
    records = [machine.check_started() for _ in range(3)]
    stream = machine.connect(spool_id)
    stream.deliver(records, first=1)
    stream.receive("acknowledged")
    stream.close()
    forked = machine.record(spool_forked=record_pb2.SpoolForked(previous_spool_id=spool_id, shared_sequence=2))
    stream = machine.connect(new_id())
    stream.deliver([forked, *records[1:], machine.check_started()], first=1)
    assert 4 == stream.receive("acknowledged").watermark
    stream.close()
    own_collector.stop()
    with own_collector.database() as database:
        assert [(5, 5)] == database.sql("SELECT count(*), count(DISTINCT record_id) FROM store.record").fetchall()
        assert [(4,)] == database.sql("SELECT count(*) FROM store.check_start").fetchall()


def test_a_collector_that_stops_says_drain(own_collector: RunningCollector) -> None:
    """On SIGTERM the stream gets its acknowledgements, then Drain, and the process ends with 0."""
    machine = own_collector.enrol()
    stream = machine.connect(new_id())
    stream.deliver([machine.check_started()], first=1)
    stream.receive("acknowledged")
    assert 0 == own_collector.stop()
    kinds = []
    while (response := stream.incoming.get(timeout=20)) is not None:
        assert not isinstance(response, grpc.RpcError), response
        kinds.append(response.WhichOneof("message"))
    assert "drain" == kinds[-1]


def test_a_revoked_machine_is_cut_off(own_collector: RunningCollector) -> None:
    """An open stream ends at the next heartbeat, and a new one is refused."""
    from .conftest import run_command

    machine = own_collector.enrol("to-be-revoked")
    stream = machine.connect(new_id())
    done = run_command("machine", "revoke", "to-be-revoked", "--data", str(own_collector.folder))
    assert 0 == done.returncode, done.stderr
    assert grpc.StatusCode.PERMISSION_DENIED == stream.status()
    with pytest.raises(grpc.RpcError) as refused:
        machine.connect(new_id())
    assert grpc.StatusCode.PERMISSION_DENIED == refused.value.code()


@pytest.mark.parametrize("acknowledgements", [1, 7, 20])
def test_kill_9_loses_nothing_acknowledged(own_collector: RunningCollector, acknowledgements: int) -> None:
    """The collector is killed during a load; after resuming by watermark every record is stored once."""
    machine, spool_id = own_collector.enrol(), new_id()
    records = [machine.check_started() for _ in range(600)]
    stream = machine.connect(spool_id)
    for start in range(0, len(records), 10):
        stream.deliver(records[start : start + 10], first=start + 1)
    acknowledged = [stream.receive("acknowledged").watermark for _ in range(acknowledgements)][-1]
    own_collector.stop(signal.SIGKILL)
    own_collector.start()
    again = machine.connect(spool_id)
    watermark = again.welcome.watermark
    assert acknowledged <= watermark <= len(records)
    assert chained(records[:watermark]) == again.welcome.digest
    if watermark < len(records):
        again.deliver(records[watermark:], first=watermark + 1)
        assert len(records) == again.receive("acknowledged").watermark
    again.close()
    own_collector.stop()
    with own_collector.database() as database:
        counts = database.sql("SELECT count(*), count(DISTINCT record_id), max(sequence) FROM store.record").fetchall()
        assert [(600, 600, 600)] == counts
        assert [(600, 600)] == database.sql("SELECT sequence, stored FROM store.watermark").fetchall()
