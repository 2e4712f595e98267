"""Floods, slow clients and compressed bombs: the collector answers others, and its memory is bounded."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import queue
import resource
import socket
import ssl
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from hypothesis import given
from hypothesis import strategies as st
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv.printed_token import PREFIX
from llmenv_collector.errors import NoRoomError, SilentError, UnauthenticatedError
from llmenv_collector.identity import tokens
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.serving import gate, peer_limits
from llmenv_collector.serving.peer_limits import Allowance, Peer, PeerLimits

from .conftest import AgentStream, RunningCollector, wait_until
from .test_policy import Peer as Call

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

WHO_AM_I = "/llmenv.fleet.v1.FleetService/WhoAmI"
BOMB_BYTES = 64 << 20
MEMORY_BYTES = 96 << 20
"""What an attack may cost beyond what the collector has anyway; each of them offers far more."""


def memory(collector: RunningCollector) -> int:
    """Resident, bytes; 0 where the system does not tell."""
    told = Path(f"/proc/{collector.process.pid}/statm")
    return int(told.read_text().split()[1]) * resource.getpagesize() if told.exists() else 0


def answers(collector: RunningCollector) -> bool:
    with collector.people_channel() as channel:
        return HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=60).status == 1


def code_of(call: Any) -> grpc.StatusCode:
    try:
        call()
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_credit_runs_out_and_comes_back() -> None:
    """So many at once, then so many a second; another peer is not concerned."""
    clock = Clock()
    limits = PeerLimits(now=clock)
    peer = Peer("a", Allowance(burst=3, a_second=2, at_once=9))
    for _ in range(3):
        limits.spend(peer)
    with pytest.raises(NoRoomError, match="2 calls a second"):
        limits.spend(peer)
    limits.spend(Peer("b", peer.allowance))
    clock.now = 0.5
    limits.spend(peer)
    with pytest.raises(NoRoomError):
        limits.spend(peer)


def test_calls_that_are_open_count() -> None:
    """Until they end, however they end."""
    limits = PeerLimits(now=Clock())
    peer = Peer("a", Allowance(burst=100, a_second=1, at_once=2))
    with contextlib.ExitStack() as calls:
        for _ in range(2):
            calls.enter_context(limits.call(peer))
        with pytest.raises(NoRoomError, match="2 calls are open"), limits.call(peer):
            pytest.fail("it was let in")
    with pytest.raises(ZeroDivisionError), limits.call(peer):
        raise ZeroDivisionError
    with limits.call(peer), limits.call(peer):
        pass


@given(st.lists(st.tuples(st.integers(0, 5), st.floats(0, 10)), max_size=200))
def test_nobody_ever_gets_more_than_the_allowance(calls: list[tuple[int, float]]) -> None:
    """In any order of peers and times: at most the burst, and so many a second since then."""
    clock = Clock()
    limits = PeerLimits(now=clock)
    allowance = Allowance(burst=4, a_second=1, at_once=1)
    granted: dict[int, int] = {}
    for peer, wait in calls:
        clock.now += wait
        with contextlib.suppress(NoRoomError):
            limits.spend(Peer(str(peer), allowance))
            granted[peer] = granted.get(peer, 0) + 1
    assert all(count <= allowance.burst + clock.now * allowance.a_second + 1e-6 for count in granted.values())


def test_what_is_remembered_of_peers_is_bounded() -> None:
    """However many addresses come."""
    limits = PeerLimits(now=Clock())
    for number in range(peer_limits.MOST_PEERS + 50):
        limits.spend(Peer(str(number), peer_limits.ADDRESS))
    assert len(limits._accounts) == peer_limits.MOST_PEERS


def test_a_pause_in_what_a_person_sends_has_a_bound() -> None:
    """A request in parts that trickles to a stop is ended; one that goes on is not."""

    async def parts(*, stops: bool) -> AsyncIterator[bytes]:
        yield b"1"
        if stops:
            await asyncio.Event().wait()
        yield b"2"

    async def read(*, stops: bool) -> list[str]:
        return [part async for part in gate.each_parsed(bytes.decode, parts(stops=stops), patience=0.2)]

    assert asyncio.run(read(stops=False)) == ["1", "2"]
    with pytest.raises(SilentError, match="Nothing more of the request"):
        asyncio.run(read(stops=True))


@pytest.mark.parametrize(
    "path", ["/llmenv.fleet.v1.EnrollmentService/Enroll", "/grpc.health.v1.Health/Check"]
)
def test_a_compressed_bomb_is_refused_by_its_size(collector: RunningCollector, path: str) -> None:
    """A few kilobytes that would become 64 MiB: refused, and never in memory."""
    before = memory(collector)
    options = [("grpc.max_send_message_length", -1)]
    credentials = grpc.ssl_channel_credentials(collector.ca)
    with grpc.secure_channel(collector.people_address, credentials, options=options) as channel:
        call = channel.unary_unary(path)
        bomb = bytes(BOMB_BYTES)
        sent = [call.future(bomb, compression=grpc.Compression.Gzip, timeout=120) for _ in range(3)]
        assert {code_of(one.result) for one in sent} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert memory(collector) - before < MEMORY_BYTES
    assert answers(collector)


def test_a_refusal_quotes_no_more_than_gets_back(collector: RunningCollector) -> None:
    """gRPC drops an answer with long details and says RESOURCE_EXHAUSTED; what to do is still in it."""
    metadata = [("authorization", f"Bearer {collector.admin_secret}")]
    request = fleet.GetRunRequest(run_id="\N{PERSONAL COMPUTER}" * 20_000)
    with collector.people_channel() as channel, pytest.raises(grpc.RpcError) as refused:
        FleetServiceStub(channel).GetRun(request, metadata=metadata, timeout=200)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    details = refused.value.details()
    assert details.startswith("There is no run '\N{PERSONAL COMPUTER}")
    assert details.endswith("': see `llmenv run list`.")
    assert len(details) < 700


def test_wrong_tokens_from_one_address_lock_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a flood of them strangers are refused unseen, and who was known before is answered."""
    monkeypatch.setattr(peer_limits, "ADDRESS", Allowance(burst=3, a_second=1e-6, at_once=9))
    identity = Identity.create(tmp_path / "identity.db")
    known, other = (tokens.create(identity, role="viewer", seconds=3_600, label="") for _ in range(2))

    async def ask(door: gate.Gate, secret: str) -> Any:
        call: Any = Call("ipv4:192.0.2.7:5", {"authorization": f"Bearer {secret}"})
        return await door.admit(WHO_AM_I, call)

    async def flood() -> None:
        door = gate.Gate(identity)
        admitted = await ask(door, known)
        for _ in range(3):
            with pytest.raises(UnauthenticatedError):
                await ask(door, "nonsense")
        for secret in ("nonsense", other):
            with pytest.raises(NoRoomError):
                await ask(door, secret)
        assert await ask(door, known) == admitted

    asyncio.run(flood())


def test_a_damaged_token_is_refused_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be parsed or encoded is as wrong as any other token, and costs the address as much."""
    monkeypatch.setattr(peer_limits, "ADDRESS", Allowance(burst=3, a_second=1e-6, at_once=9))
    nested, half = "[" * 100_000, '{"a": "localhost:1", "p": "pin", "t": "\\ud800"}'
    shown = ["\ud800"]
    shown += [PREFIX + base64.urlsafe_b64encode(text.encode()).decode() for text in (nested, half)]

    async def attack() -> None:
        door = gate.Gate(Identity.create(tmp_path / "identity.db"))
        for expected in (UnauthenticatedError, NoRoomError):
            for secret in shown:
                call: Any = Call("ipv4:192.0.2.7:5", {"authorization": f"Bearer {secret}"})
                with pytest.raises(expected):
                    await door.admit(WHO_AM_I, call)

    asyncio.run(attack())


def test_one_token_does_not_open_calls_without_end(own_collector: RunningCollector) -> None:
    """The 33rd at once is sent away with the time to wait; another token is answered."""
    metadata = [("authorization", f"Bearer {own_collector.secret('--role', 'viewer')}")]
    other = [("authorization", f"Bearer {own_collector.admin_secret}")]
    hanging: list[queue.SimpleQueue[Any]] = []

    def never_ending() -> Iterator[Any]:
        hanging.append(waiting := queue.SimpleQueue())
        yield from iter(waiting.get, None)

    with own_collector.people_channel() as channel:
        stub = FleetServiceStub(channel)
        calls = [
            stub.ImportMeasurements.future(never_ending(), metadata=other)
            for _ in range(peer_limits.PERSON.at_once + 8)
        ]
        wait_until(lambda: sum(call.done() for call in calls) == 8)
        ended = [call for call in calls if call.done()]
        assert {call.code() for call in ended} == {grpc.StatusCode.RESOURCE_EXHAUSTED}
        assert stub.WhoAmI(fleet.WhoAmIRequest(), metadata=metadata).role == "viewer"
        for call in calls:
            call.cancel()
        for waiting in hanging:
            waiting.put(None)


def test_a_machine_does_not_open_streams_without_end(own_collector: RunningCollector) -> None:
    """The 17th at once is sent away; the others go on."""
    machine = own_collector.enrol()
    streams = [machine.connect(new_id()) for _ in range(peer_limits.MACHINE.at_once)]
    assert AgentStream(machine).status() == grpc.StatusCode.RESOURCE_EXHAUSTED
    for stream in streams:
        stream.close()


def slow_connection(address: str, *, tls: ssl.SSLContext | None = None) -> socket.socket:
    host, _, port = address.rpartition(":")
    plain = socket.create_connection((host, int(port)), timeout=60)
    return tls.wrap_socket(plain, server_hostname=host) if tls else plain


def is_closed(connection: socket.socket) -> bool:
    """Waits until the other side closes it."""
    connection.settimeout(60)
    try:
        while connection.recv(4_096):
            pass
    except TimeoutError:
        return False
    except OSError:
        pass
    return True


def test_who_connects_and_says_nothing_is_sent_away(collector: RunningCollector) -> None:
    """Before the TLS handshake, within it, and after it without HTTP/2; others are answered meanwhile."""
    tls = ssl.create_default_context(cadata=collector.ca.decode())
    tls.set_alpn_protocols(["h2"])
    address = collector.people_address
    silent = [slow_connection(address) for _ in range(50)]
    begun = [slow_connection(address) for _ in range(50)]
    for connection in begun:
        connection.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
    shaken = [slow_connection(address, tls=tls) for _ in range(20)]
    before = memory(collector)
    assert answers(collector)
    assert all(is_closed(connection) for connection in (*silent, *begun, *shaken))
    assert memory(collector) - before < MEMORY_BYTES
    for connection in (*silent, *begun, *shaken):
        connection.close()


def test_connections_are_bounded_so_that_the_database_has_files_left(tmp_path: Path) -> None:
    """More connections than the process may have files: the surplus is closed, and deliveries go on."""
    collector = RunningCollector(tmp_path / "data")
    try:
        collector.stop()
        shell = [
            "/bin/sh",
            "-c",
            'ulimit -n 512; exec "$@"',
            "sh",
            sys.executable,
            "-m",
            "llmenv_collector.main",
        ]
        collector.start(shell)
        machine = collector.enrol()
        stream = machine.connect(new_id())
        flood = []
        with contextlib.suppress(OSError):
            flood = [slow_connection(collector.people_address) for _ in range(700)]
        stream.deliver([machine.check_started()], first=1)
        assert stream.receive("acknowledged").watermark == 1
        for connection in flood:
            connection.close()
        wait_until(lambda: code_of(lambda: answers(collector)) == grpc.StatusCode.OK)
        stream.close()
    finally:
        collector.stop()
