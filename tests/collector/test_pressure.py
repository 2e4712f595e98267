"""A collector under pressure says what to do, and goes on: full disk, garbage, silence, many heartbeats."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from llmenv.fleet.v1 import agent_service_pb2, fleet_service_pb2
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv_collector.delivery.house import House
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.room import Room
from llmenv_collector.delivery.session import Session
from llmenv_collector.delivery.sighting import Sighting
from llmenv_collector.delivery.sightings import Sightings
from llmenv_collector.delivery.streams import Streams
from llmenv_collector.errors import FullStoreError, SilentError
from llmenv_collector.storage.store import Store

from .conftest import PATIENCE_SECONDS, RunningCollector, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 48 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a file system cannot be mounted here: this needs root on Linux")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(folder: Path, *, leave: int) -> Path:
    """A file that takes all but `leave` bytes."""
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    with ballast.open("wb") as file:
        file.write(bytes(max(0, free.f_bavail * free.f_frsize - leave)))
    return ballast


def health_of(collector: RunningCollector, service: str) -> int:
    with collector.people_channel() as channel:
        request = health_pb2.HealthCheckRequest(service=service)
        return int(health_pb2_grpc.HealthStub(channel).Check(request).status)


def test_a_full_disk_is_answered_and_recovered_from_without_a_restart(small_disk: Path) -> None:
    """Agents are told when to come again, people go on to read, and health says which is which."""
    collector = RunningCollector(small_disk / "data", "--min-free-mb", "8")
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    try:
        machine, spool_id = collector.enrol("studio"), new_id()
        records = [machine.check_started() for _ in range(3)]
        stream = machine.connect(spool_id)
        stream.deliver(records[:1], first=1)
        assert stream.receive("acknowledged").watermark == 1
        viewer = [("authorization", f"Bearer {collector.secret('--role', 'viewer')}")]
        ballast = fill(small_disk, leave=4 * MEGABYTE)
        stream.deliver(records[1:2], first=2)
        refused = error_of(stream)
        assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "make room there" in refused.details()
        assert 5 <= retry_seconds(refused) <= 30
        wait_until(lambda: health_of(collector, "llmenv.fleet.v1.AgentService") == not_serving)
        assert serving == health_of(collector, "llmenv.fleet.v1.FleetService")
        with collector.people_channel() as channel:
            asked = fleet_service_pb2.ListMachinesRequest()
            answer = FleetServiceStub(channel).ListMachines(asked, metadata=viewer)
        assert [one.machine.machine_id for one in answer.machines] == [machine.machine_id]

        ballast.unlink()
        wait_until(lambda: health_of(collector, "") == serving)
        again = machine.connect(spool_id)
        assert again.welcome.watermark == 1
        again.deliver(records[1:], first=2)
        assert again.receive("acknowledged").watermark == 3
        again.close()
    finally:
        collector.stop()


def test_a_disk_that_others_fill_at_once_loses_nothing(small_disk: Path) -> None:
    """Nothing was reserved: commits and a checkpoint fail in DuckDB itself, which is opened anew in place."""
    store, machine_id, spool_id = Store(small_disk / "llmenv.duckdb"), new_id(), new_id()
    large = b"x" * 300_000  # no Record: it is stored as a rejection, whole

    def deliver(sequence: int) -> int:
        arrival = Arrival(spool_id, machine_id, 1, sequence, large, received_at=sequence)
        return store.deliver([arrival]).result().watermark

    acknowledged = 0
    with contextlib.suppress(FullStoreError):
        while True:
            acknowledged = deliver(acknowledged + 1)
    assert acknowledged > 10
    with pytest.raises(FullStoreError):
        store.try_again().result()  # a checkpoint without room is fatal to DuckDB
    assert store.obstacle() != ""
    with store.reader() as connection:
        assert connection.execute("SELECT sequence FROM store.watermark").fetchall() == [(acknowledged,)]
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert deliver(acknowledged + 1) == acknowledged + 1
    store.try_again().result()
    assert store.obstacle() == ""
    store.close()
    reopened = Store(small_disk / "llmenv.duckdb")
    state = reopened.spool_state(spool_id).result()
    assert state.watermark is not None
    assert state.watermark.sequence == acknowledged + 1
    reopened.close()


def test_readers_wait_for_a_database_that_is_opened_anew(tmp_path: Path) -> None:
    """One that is under way ends first, and those that come meanwhile see the new one."""
    store = Store(tmp_path / "llmenv.duckdb")
    with store.reader() as connection:
        reopening = asyncio.run(ended_within(store, 0.2))
        assert not reopening
        assert connection.execute("SELECT count(*) FROM store.record").fetchall() == [(0,)]
    store.see(Sighting(new_id(), seen_at=1)).result(timeout=PATIENCE_SECONDS)
    with store.reader() as connection:
        assert connection.execute("SELECT count(*) FROM store.machine_sighting").fetchall() == [(1,)]
    store.close()


async def ended_within(store: Store, seconds: float) -> bool:
    reopened = asyncio.wrap_future(store.request(lambda _: store._database.reopen()))
    done, _ = await asyncio.wait({reopened}, timeout=seconds)
    return bool(done)


@pytest.mark.parametrize("method", ["EnrollmentService/Enroll", "FleetService/ListRuns"])
def test_garbage_is_answered_as_a_mistake(collector: RunningCollector, method: str) -> None:
    """Not as a fault of the collector."""
    token = ("authorization", f"Bearer {collector.secret('--role', 'viewer')}")
    with collector.people_channel() as channel:
        call = channel.unary_unary(f"/llmenv.fleet.v1.{method}")
        with pytest.raises(grpc.RpcError) as refused:
            call(b"\xff\xff\xff", metadata=[token])
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_garbage_on_a_stream_is_answered_as_a_mistake(collector: RunningCollector) -> None:
    """In place of a Hello."""
    machine = collector.enrol()
    credentials = grpc.ssl_channel_credentials(collector.ca, machine.key, machine.certificate)
    with grpc.secure_channel(collector.agents_address, credentials) as channel:
        call = channel.stream_stream("/llmenv.fleet.v1.AgentService/Connect")
        with pytest.raises(grpc.RpcError) as refused:
            next(call(iter([b"\xff\xff\xff"])))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_silent_stream_is_ended(tmp_path: Path) -> None:
    """One that opens and says nothing holds no place for ever."""

    async def nothing() -> AsyncIterator[agent_service_pb2.ConnectRequest]:
        await asyncio.Event().wait()
        yield agent_service_pb2.ConnectRequest()

    async def serve(store: Store) -> None:
        house = House(
            store,
            Streams(),
            Room(),
            Sightings(store),
            heartbeat_seconds=9.0,
            version="1",
            hello_seconds=0.05,
        )

        async def send(response: agent_service_pb2.ConnectResponse) -> None:
            raise AssertionError(response)

        await Session(house=house, machine_id=new_id(), send=send).serve(nothing())

    store = Store(tmp_path / "llmenv.duckdb")
    with pytest.raises(SilentError, match="No Hello came"):
        asyncio.run(serve(store))
    store.close()


def test_heartbeats_of_a_fleet_are_one_transaction(tmp_path: Path) -> None:
    """By count: a thousand machines that beat three times are written once, with their newest word."""
    store = Store(tmp_path / "llmenv.duckdb")
    sightings, before = Sightings(store), store.commits
    machines = [new_id() for _ in range(1_000)]
    for beat in (1, 2, 3):
        for machine_id in machines:
            sightings.note(Sighting(machine_id, seen_at=beat), spool_id="")
    asyncio.run(sightings.write())
    assert store.commits == before + 1
    with store.reader() as connection:
        seen = connection.execute(
            "SELECT count(*), min(epoch_us(last_seen_at)), max(epoch_us(last_seen_at))"
            " FROM store.machine_sighting"
        ).fetchall()
    assert seen == [(1_000, 3, 3)]
    store.close()


def test_a_collector_that_stops_under_load_acknowledges_what_it_stored(
    own_collector: RunningCollector,
) -> None:
    """Eight machines send until SIGTERM: all that one hears of is in the database, and the exit code is 0."""
    streams = {}
    for number in range(8):
        machine, spool_id = own_collector.enrol(f"machine-{number}"), new_id()
        streams[spool_id] = machine.connect(spool_id)
        for first in range(1, 401, 20):
            streams[spool_id].deliver([machine.check_started() for _ in range(20)], first=first)
    for stream in streams.values():
        stream.receive("acknowledged")
    assert own_collector.stop() == 0
    heard = {spool_id: last_acknowledged(stream) for spool_id, stream in streams.items()}
    with own_collector.database() as database:
        stored = database.sql("SELECT spool_id::VARCHAR, sequence FROM store.watermark").fetchall()
        assert all(sequence >= heard[spool_id] for spool_id, sequence in stored)
        records = database.sql("SELECT spool_id::VARCHAR, count(*) FROM store.record GROUP BY 1").fetchall()
    assert dict(records) == dict(stored)


def last_acknowledged(stream: object) -> int:
    """Everything up to the end of the stream; 20 was received before."""
    watermark = 20
    while isinstance(
        response := stream.incoming.get(timeout=PATIENCE_SECONDS), agent_service_pb2.ConnectResponse
    ):
        if response.WhichOneof("message") == "acknowledged":
            watermark = response.acknowledged.watermark
    return watermark


def error_of(stream: object) -> grpc.RpcError:
    while isinstance(
        response := stream.incoming.get(timeout=PATIENCE_SECONDS), agent_service_pb2.ConnectResponse
    ):
        pass
    assert isinstance(response, grpc.RpcError)
    return response


def retry_seconds(error: grpc.RpcError) -> float:
    """Of the RetryInfo in the rich status."""
    status = rpc_status.from_call(error)
    retry = error_details_pb2.RetryInfo()
    assert status.details[0].Unpack(retry)
    return retry.retry_delay.ToTimedelta().total_seconds()
