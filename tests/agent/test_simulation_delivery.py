"""What virtual agents need of the real spool and count of their delivery."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from typing import TYPE_CHECKING

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from llmenv.fleet.v1 import record_pb2
from llmenv.fleet.v1.agent_service_pb2_grpc import AgentServiceStub
from llmenv.ids import new_id
from llmenv.printed_token import PrintedToken
from llmenv_agent.enrollment import private_pem
from llmenv_agent.errors import RecordTooLargeError, UsageError
from llmenv_agent.identity import Identity
from llmenv_agent.simulation import descriptors, enrolling
from llmenv_agent.simulation.cuttable_line import CUT_OFF, CuttableLine
from llmenv_agent.simulation.enrolling import enrol_machines
from llmenv_agent.simulation.event_loop import InMemoryLoop
from llmenv_agent.simulation.fleet import Fleet
from llmenv_agent.simulation.plan import Plan
from llmenv_agent.simulation.runwise_spool import RunwiseSpool
from llmenv_agent.simulation.timed_tally import Content, TimedTally
from llmenv_agent.spool import MAX_RECORD_BYTES, Spool
from llmenv_agent.spool_bounds import Bounds
from llmenv_agent.spool_file import IN_MEMORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def spool() -> Iterator[Spool]:
    opened = Spool(IN_MEMORY, machine_id=new_id())
    yield opened
    opened.close()


def started(check: str = "torch_basics") -> record_pb2.Record:
    return record_pb2.Record(
        check_started=record_pb2.CheckStarted(run_id=new_id(), result_id=new_id(), check_name=check)
    )


def test_a_spool_in_memory_leaves_no_file(
    spool: Spool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And holds what it is given."""
    monkeypatch.chdir(tmp_path)
    other = Spool(IN_MEMORY, machine_id=new_id())
    other.append(started())
    assert (other.marks().last_sequence, spool.marks().last_sequence) == (1, 0)
    other.close()
    assert list(tmp_path.iterdir()) == []


def test_several_records_are_one_transaction(spool: Spool) -> None:
    """One wake-up for all; none at all where there are none."""
    wakes: list[int] = []
    spool.subscribe(lambda: wakes.append(1))
    assert spool.extend([started(), started(), started()]) == 3
    assert spool.extend([]) == 0
    assert (len(wakes), spool.ledger().minted) == (1, 3)


def test_of_several_records_all_or_none_are_spooled(spool: Spool) -> None:
    """One that is too large takes the others back, and the next sequence is not skipped."""
    with pytest.raises(RecordTooLargeError):
        spool.extend([started(), started("x" * (MAX_RECORD_BYTES + 1))])
    assert spool.marks().last_sequence == 0
    assert spool.append(started()) == 1


def test_a_history_is_spooled_as_it_is(spool: Spool) -> None:
    """Ids and times stay those of the history; the machine becomes the enrolled one."""
    fleet = Fleet(seed=1, machines=1, days=1)
    history = list(fleet.records(fleet.machines[0]))
    identity = [(record.record_id, record.measured_at.ToNanoseconds()) for record in history]
    spool.extend(history)
    kept = list(spool.records())
    assert identity == [(record.record_id, record.measured_at.ToNanoseconds()) for record in kept]
    assert {record.machine_id for record in kept} == {spool.marks().machine_id}


def test_each_record_and_each_batch_is_timed_once() -> None:
    """Cumulative: one may be for several batches, and for a part of what was spooled at once."""
    tally = TimedTally()
    tally.begin()
    tally.spooled(15, Content(runs=1))
    tally.spooled(30, Content(runs=2))
    for last_sequence in (10, 20, 30):
        tally.sent(last_sequence)
    tally.was_acknowledged(20)
    assert (tally.acknowledgement.count, tally.round_trip.count, tally.watermark) == (20, 2, 20)
    assert tally.content.runs == 1
    tally.was_acknowledged(20)
    tally.was_acknowledged(30)
    assert (tally.acknowledgement.count, tally.round_trip.count, tally.acknowledged) == (30, 3, 3)
    assert tally.content.runs == 3


def test_a_lost_stream_is_timed_until_the_next_and_until_all_is_delivered() -> None:
    """The first connection is no reconnect; a stream that never was welcome is not lost."""
    tally = TimedTally()
    tally.begin()
    tally.ended()
    tally.begin()
    tally.welcomed()
    tally.was_acknowledged(0)
    assert (tally.reconnects.lost, tally.first_connected.count) == (0, 1)
    tally.ended()
    tally.spooled(10)
    tally.begin()
    tally.welcomed()
    tally.was_acknowledged(9)
    assert (tally.reconnects.lost, tally.reconnects.connected.count) == (1, 1)
    assert tally.reconnects.drained.count == 0
    tally.was_acknowledged(10)
    tally.was_acknowledged(10)
    assert tally.reconnects.drained.count == tally.first_connected.count == 1
    assert tally.reconnects.drained.longest >= tally.reconnects.connected.longest


def test_a_message_holds_a_run_at_most() -> None:
    """Where several wait, each goes by itself; what comes before the first goes with it."""
    fleet = Fleet(seed=1, machines=1, days=3, plan=Plan(upgrades=False, absent_share=0.0))
    history = list(fleet.records(fleet.machines[0]))
    spool = RunwiseSpool(IN_MEMORY, machine_id=new_id(), bounds=Bounds())
    spool.extend(history)
    batches, sequence = [], 0
    while batch := spool.offer_after(sequence):
        sequence = batch[-1].sequence
        batches.append([record_pb2.Record.FromString(each.record).WhichOneof("kind") for each in batch])
    spool.close()
    assert [len(batch) for batch in batches] == [27, 26, 26]
    assert {batch[-1] for batch in batches} == {"run_finished"}


def test_a_line_that_is_cut_lets_nobody_through_until_it_is_mended() -> None:
    """What fails meanwhile is counted as the simulation's own doing."""
    line, identity = CuttableLine(), an_identity()

    async def streams() -> list[str]:
        seen = []
        async with line.open("127.0.0.1:1", identity) as channel:
            stub = AgentServiceStub(channel)
            seen.append(type(stub).__name__)
            await line.cut()
            try:
                AgentServiceStub(channel)
            except grpc.aio.AioRpcError as error:
                seen.append(line.explain("127.0.0.1:1", identity, error).sentence)
            line.mend()
            seen.append(type(AgentServiceStub(channel)).__name__)
        return seen

    assert asyncio.run(streams()) == ["AgentServiceStub", CUT_OFF, "AgentServiceStub"]
    assert (line.failures, line.refusals) == ({CUT_OFF: 1}, 0)


def an_identity() -> Identity:
    """Certificates that nobody signed: a channel reads them when it is made."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now).not_valid_after(now + dt.timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256())
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return Identity(
        machine_id=new_id(),
        key_pem=private_pem(key),
        certificate_pem=pem,
        ca_pem=pem,
        enrollment_address="127.0.0.1:1",
        agent_addresses=("127.0.0.1:1",),
        not_after=now.isoformat(),
        renew_at=now.isoformat(),
    )


def test_too_few_tokens_are_said_before_anybody_enrols(tmp_path: Path) -> None:
    """With the command that makes them."""
    fleet = Fleet(seed=1, machines=3, days=1)
    with pytest.raises(UsageError, match="token create --count 3"):
        enrol_machines(fleet.machines, ["one", "two"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_tokens_of_several_collectors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is damaged; before anybody enrols."""
    monkeypatch.setattr(enrolling, "first_contact", lambda text: (PrintedToken.parse(text), ""))
    machines = Fleet(seed=1, machines=2, days=1).machines
    tokens = [str(PrintedToken(address=f"{host}:7443", pin="p", secret="s")) for host in ("a", "b")]
    with pytest.raises(UsageError, match="of several collectors"):
        enrol_machines(machines, tokens, tmp_path)
    with pytest.raises(UsageError, match="no token"):
        enrol_machines(machines, [tokens[0], "x"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_as_many_files_are_allowed_as_machines_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the limit cannot be raised, it says how many are needed."""
    limits = [(700, 4_096)]

    def raised(_resource: int, limit: tuple[int, int]) -> None:
        if limit[0] > limit[1]:
            raise ValueError("not allowed to raise maximum limit")
        limits.append(limit)

    monkeypatch.setattr(descriptors.resource, "getrlimit", lambda _resource: limits[-1])
    monkeypatch.setattr(descriptors.resource, "setrlimit", raised)
    descriptors.require(100, on_disk=False)
    assert len(limits) == 1
    descriptors.require(1_000, on_disk=False)
    assert limits[-1] == (3_024, 4_096)
    with pytest.raises(UsageError, match=r"need 4,512 open files.*--processes"):
        descriptors.require(1_000, on_disk=True)


def test_a_spool_in_memory_is_asked_at_once_and_all_else_in_a_thread(spool: Spool) -> None:
    """What a spool raises comes out as from a thread."""

    async def asked() -> tuple[int, bool]:
        sequence = await asyncio.to_thread(spool.append, started())
        with pytest.raises(RecordTooLargeError):
            await asyncio.to_thread(spool.append, started("x" * (MAX_RECORD_BYTES + 1)))
        elsewhere = await asyncio.to_thread(threading.get_ident)
        return sequence, elsewhere == threading.get_ident()

    with asyncio.Runner(loop_factory=InMemoryLoop) as runner:
        assert runner.run(asked()) == (1, False)


def test_only_methods_of_a_spool_are_called_at_once(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the thread of the loop."""
    seen: list[int] = []
    monkeypatch.setattr(Spool, "ledger", lambda _: seen.append(threading.get_ident()))
    with asyncio.Runner(loop_factory=InMemoryLoop) as runner:
        runner.run(asyncio.to_thread(spool.ledger))
    assert seen == [threading.get_ident()]
