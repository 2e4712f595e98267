"""The reporter against a collector that does what the test says, over real sockets with mutual TLS."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import hashlib
import logging
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # no stubs are published
from llmenv import failpoints
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import agent_service_pb2_grpc, machine_pb2, record_pb2
from llmenv.ids import new_id
from llmenv_agent import reconnect, session
from llmenv_agent.connection import Trouble
from llmenv_agent.enrollment import signing_request
from llmenv_agent.errors import DeliveryError
from llmenv_agent.identity import Identity
from llmenv_agent.renewal import Renewal
from llmenv_agent.reporter import Reporter
from llmenv_agent.spool import GENESIS, Spool
from llmenv_collector.identity.authority import Authority
from llmenv_collector.identity.certificates import key_pem
from llmenv_collector.serving.server_certificate import ServerCertificate
from llmenv_collector.storage.data_folder import DataFolder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

MACHINE_ID = new_id()


async def pass_on(*_arguments: object) -> None:
    """What a collector does that bends nothing."""


@dataclass
class Collector(agent_service_pb2_grpc.AgentServiceServicer):
    """Stores what comes in order; each test bends one thing."""

    records: list[record_pb2.Record] = field(default_factory=list)
    hellos: list[wire.Hello] = field(default_factory=list)
    confirmed: list[int] = field(default_factory=list)
    goodbyes: list[str] = field(default_factory=list)
    heartbeats: list[wire.Heartbeat] = field(default_factory=list)
    digests: dict[str, dict[int, bytes]] = field(default_factory=dict)
    watermarks: dict[str, int] = field(default_factory=dict)
    heartbeat_seconds: float = 30.0
    on_hello: Callable[[Collector, grpc.aio.ServicerContext[Any, Any]], Any] | None = None
    on_batch: Callable[[Collector, grpc.aio.ServicerContext[Any, Any]], Any] | None = None
    after_welcome: list[wire.ConnectResponse] = field(default_factory=list)

    async def Connect(  # noqa: N802 # gRPC names it
        self,
        request_iterator: AsyncIterator[wire.ConnectRequest],
        context: Context,
    ) -> AsyncIterator[wire.ConnectResponse]:
        spool_id = ""
        async for request in request_iterator:
            match request.WhichOneof("message"):
                case "hello":
                    spool_id = request.hello.spool_id
                    await (self.on_hello or pass_on)(self, context)
                    yield wire.ConnectResponse(welcome=self.welcome(request.hello))
                    for response in self.after_welcome:
                        yield response
                case "records":
                    await (self.on_batch or pass_on)(self, context)
                    for spooled in request.records.records:
                        self.store(spool_id, spooled)
                    acknowledged = wire.Acknowledged(watermark=self.watermarks[spool_id])
                    yield wire.ConnectResponse(acknowledged=acknowledged)
                case "rejection_confirmed":
                    self.confirmed.append(request.rejection_confirmed.sequence)
                case "heartbeat":
                    self.heartbeats.append(request.heartbeat)
                case "goodbye":
                    self.goodbyes.append(request.goodbye.reason)
                    return

    def welcome(self, hello: wire.Hello) -> wire.Welcome:
        self.hellos.append(hello)
        watermark = self.watermarks.setdefault(hello.spool_id, 0)
        digest = self.digests.setdefault(hello.spool_id, {0: GENESIS})[watermark]
        return wire.Welcome(
            watermark=watermark,
            digest=digest if watermark else b"",
            heartbeat_seconds=self.heartbeat_seconds,
            received_at=hello.sent_at,
            sent_at=hello.sent_at,
        )

    def store(self, spool_id: str, spooled: record_pb2.SpooledRecord) -> None:
        assert self.watermarks[spool_id] + 1 == spooled.sequence
        digests = self.digests[spool_id]
        digests[spooled.sequence] = hashlib.sha256(digests[spooled.sequence - 1] + spooled.record).digest()
        self.watermarks[spool_id] = spooled.sequence
        self.records.append(record_pb2.Record.FromString(spooled.record))


@dataclass
class House:
    """A certificate authority, a free port, and whom it certifies."""

    authority: Authority
    folder: DataFolder
    port: int

    @property
    def address(self) -> str:
        return f"localhost:{self.port}"

    @contextlib.asynccontextmanager
    async def serving(self, collector: Collector) -> AsyncIterator[None]:
        identity = ServerCertificate(self.folder, self.authority).with_names(["localhost"])
        credentials = grpc.ssl_server_credentials(
            [(identity.key, identity.chain)], self.authority.pem, require_client_auth=True
        )
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        agent_service_pb2_grpc.add_AgentServiceServicer_to_server(collector, server)
        assert self.port == server.add_secure_port(self.address, credentials)
        await server.start()
        try:
            yield
        finally:
            await server.stop(0)

    def identity(self, *, trusting: Authority | None = None) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.authority.sign_machine(
            signing_request(key), machine_id=MACHINE_ID, lifetime=dt.timedelta(days=1)
        )
        return Identity(
            machine_id=MACHINE_ID,
            key_pem=key_pem(key).decode(),
            certificate_pem=certificate.pem.decode(),
            ca_pem=(trusting or self.authority).pem.decode(),
            enrollment_address="localhost:1",
            agent_addresses=(self.address,),
            not_after=certificate.not_after.isoformat(),
            renew_at=certificate.not_after.isoformat(),
        )


def make_house(path: Path) -> House:
    folder = DataFolder(path)
    folder.create()
    with socket.create_server(("localhost", 0)) as probe:
        port = probe.getsockname()[1]
    return House(Authority.create(folder), folder, port)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(reconnect, "FIRST_SECONDS", 0.05)
    return make_house(tmp_path / "house")


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool.db", machine_id=MACHINE_ID)
    yield spool
    spool.close()


def append(spool: Spool, reason: str) -> None:
    outcome = record_pb2.CommandOutcome(command_id="c", reason=reason)
    spool.append(record_pb2.Record(command_outcome=outcome))


def reasons(collector: Collector) -> list[str]:
    return [record.command_outcome.reason for record in collector.records]


@contextlib.asynccontextmanager
async def reporting(
    spool: Spool,
    identity: Identity,
    on_command: Callable[[wire.Command], Any] | None = None,
    on_waiting: Callable[[str], None] = lambda _: None,
    addresses: Sequence[str] = (),
) -> AsyncIterator[Reporter]:
    async def ignore(_command: wire.Command) -> None:
        pass

    reporter = Reporter(
        spool,
        Renewal(Path("no-such-folder"), identity),
        read_machine=lambda: machine_pb2.Machine(hostname="test"),
        on_command=on_command or ignore,
        on_waiting=on_waiting,
        addresses=addresses,
    )
    running = asyncio.create_task(reporter.run())
    try:
        yield reporter
    finally:
        reporter.stop()
        await asyncio.wait_for(running, 60)


async def eventually(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 # conditions are of several kinds and threads
            await asyncio.sleep(0.02)


def test_records_are_delivered_and_acknowledged(house: House, spool: Spool) -> None:
    """What waited goes first, what happens then goes at once, and stopping says Goodbye."""
    collector = Collector()

    async def scenario() -> None:
        append(spool, "before")
        async with house.serving(collector):
            async with reporting(spool, house.identity()) as reporter:
                await reporter.wait_until_delivered(60)
                await asyncio.to_thread(append, spool, "while connected")
                await reporter.wait_until_delivered(60)
            await eventually(lambda: bool(collector.goodbyes))

    asyncio.run(scenario())
    assert reasons(collector) == ["before", "while connected"]
    assert collector.goodbyes == ["stopping"]
    assert MACHINE_ID == collector.hellos[0].machine.machine_id == collector.records[0].machine_id
    assert spool.ledger().stored == 2


def test_a_machine_that_waits_for_approval_sends_nothing(house: House, spool: Spool) -> None:
    """It stays until the collector has it come anew; then everything is delivered."""
    said: list[str] = []

    async def wait_once(collector: Collector, context: Context) -> None:
        if not said:
            await context.write(wire.ConnectResponse(waiting=wire.Waiting(reason="not yet")))
            await eventually(lambda: bool(said))
            assert not collector.records
            await context.write(wire.ConnectResponse(drain=wire.Drain(reconnect_after_seconds=0.01)))
            await asyncio.Event().wait()

    collector = Collector(on_hello=wait_once)

    async def scenario() -> None:
        append(spool, "kept")
        async with (
            house.serving(collector),
            reporting(spool, house.identity(), on_waiting=said.append) as reporter,
        ):
            await reporter.wait_until_delivered(60)

    asyncio.run(scenario())
    assert (said, reasons(collector)) == (["not yet", ""], ["kept"])


def test_another_address_is_tried_when_one_does_not_answer(
    house: House, spool: Spool, tmp_path: Path
) -> None:
    """Also when somebody else answers there: the first speaks no TLS, at the second is another collector."""
    collector, stranger = Collector(), make_house(tmp_path / "stranger")

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.lab ESMTP\r\n")
        writer.close()

    async def scenario() -> None:
        append(spool, "kept")
        mail = await asyncio.start_server(greet, "localhost", 0)
        port = mail.sockets[0].getsockname()[1]
        identity = dataclasses.replace(house.identity(), agent_addresses=("localhost:1",))
        addresses = (f"localhost:{port}", stranger.address, house.address)
        async with (
            mail,
            stranger.serving(Collector()),
            house.serving(collector),
            reporting(spool, identity, addresses=addresses) as reporter,
        ):
            await reporter.wait_until_delivered(120)

    asyncio.run(scenario())
    assert reasons(collector) == ["kept"]


def test_nothing_doubles_when_the_stream_breaks(house: House, spool: Spool) -> None:
    """After a broken stream the agent goes on from the watermark that the collector names."""
    broken: list[bool] = []

    async def break_once(collector: Collector, context: Context) -> None:
        if not broken:
            broken.append(True)
            await context.abort(grpc.StatusCode.INTERNAL, "the test pulls the plug")

    collector = Collector(on_batch=break_once)

    async def scenario() -> None:
        for number in range(600):
            append(spool, str(number))
        async with house.serving(collector), reporting(spool, house.identity()) as reporter:
            await reporter.wait_until_delivered(20)

    asyncio.run(scenario())
    assert [str(number) for number in range(600)] == reasons(collector)
    assert len(collector.hellos) == 2


def test_a_collector_back_from_a_backup_gets_everything_again(house: House, spool: Spool) -> None:
    """An older watermark is taken at its word, and what is missing is sent again."""
    first = Collector()

    async def scenario() -> None:
        for number in range(5):
            append(spool, str(number))
        async with house.serving(first), reporting(spool, house.identity()) as reporter:
            await reporter.wait_until_delivered(60)
        spool_id = spool.marks().spool_id
        restored = Collector(
            watermarks={spool_id: 2}, digests={spool_id: {n: first.digests[spool_id][n] for n in (0, 1, 2)}}
        )
        async with house.serving(restored), reporting(spool, house.identity()) as reporter:
            await eventually(lambda: len(restored.records) == 3)
        assert reasons(restored) == ["2", "3", "4"]
        assert spool_id == restored.hellos[0].spool_id

    asyncio.run(scenario())


def test_a_copied_spool_forks(house: House, spool: Spool) -> None:
    """Where the collector's record at the watermark is another's, this spool goes on under a new id."""
    spool_id = spool.marks().spool_id
    collector = Collector(watermarks={spool_id: 7}, digests={spool_id: {7: b"x" * 32}})

    async def scenario() -> None:
        append(spool, "of the copy")
        async with house.serving(collector), reporting(spool, house.identity()) as reporter:
            await eventually(lambda: len(collector.records) == 2)
            await reporter.wait_until_delivered(60)

    asyncio.run(scenario())
    assert [record.WhichOneof("kind") for record in collector.records] == ["spool_forked", "command_outcome"]
    assert spool_id == collector.records[0].spool_forked.previous_spool_id
    assert [spool_id, spool.marks().spool_id] == [hello.spool_id for hello in collector.hellos]


def test_a_rejection_is_confirmed(house: House, spool: Spool) -> None:
    """The refused record becomes a dead letter before the collector hears that it did."""
    rejected = wire.Rejected(sequence=1, reason="no such kind")
    collector = Collector(after_welcome=[wire.ConnectResponse(rejected=rejected)])

    async def scenario() -> None:
        append(spool, "strange")
        async with house.serving(collector), reporting(spool, house.identity()):
            await eventually(lambda: bool(collector.confirmed))

    asyncio.run(scenario())
    assert collector.confirmed == [1]
    assert [letter.reason for letter in spool.dead_letters()] == ["no such kind"]


def test_an_impossible_acknowledgement_is_not_believed(house: House, spool: Spool) -> None:
    """A collector that acknowledges what was never sent is named as broken; the records still wait."""
    impossible = wire.ConnectResponse(acknowledged=wire.Acknowledged(watermark=99))
    serving = house.serving(Collector(after_welcome=[impossible]))
    assert Trouble.BROKEN is trouble_of(spool, house.identity(), serving=serving)
    assert spool.marks().watermark == 0


def test_a_copied_spool_keeps_its_records_from_anothers_rejection(house: House, spool: Spool) -> None:
    """Rejections that Welcome repeats are of this spool's records only when the digest says so."""
    spool_id = spool.marks().spool_id

    class Repeating(Collector):
        def welcome(self, hello: wire.Hello) -> wire.Welcome:
            welcome = super().welcome(hello)
            if hello.spool_id == spool_id:
                welcome.rejections.append(wire.Rejected(sequence=1, reason="of the other copy"))
            return welcome

    collector = Repeating(watermarks={spool_id: 7}, digests={spool_id: {7: b"x" * 32}})

    async def scenario() -> None:
        append(spool, "of this copy")
        async with house.serving(collector), reporting(spool, house.identity()) as reporter:
            await eventually(lambda: len(collector.records) == 2)
            await reporter.wait_until_delivered(60)

    asyncio.run(scenario())
    assert spool.dead_letters() == []
    assert spool.ledger().stored == 2


def test_commands_are_handed_on(house: House, spool: Spool) -> None:
    """A command arrives as the collector sent it."""
    command = wire.Command(command_id="1", expires_in_seconds=5, refresh_facts=wire.RefreshFacts())
    collector = Collector(after_welcome=[wire.ConnectResponse(command=command)])
    seen: list[wire.Command] = []

    async def take(received: wire.Command) -> None:
        seen.append(received)

    async def scenario() -> None:
        async with house.serving(collector), reporting(spool, house.identity(), take):
            await eventually(lambda: bool(seen))

    asyncio.run(scenario())
    assert [command] == seen


def test_heartbeats_carry_the_ledger(house: House, spool: Spool) -> None:
    """When there is nothing else to say the agent says that it lives, with its totals."""
    collector = Collector(heartbeat_seconds=0.1)

    async def scenario() -> None:
        append(spool, "one")
        async with house.serving(collector), reporting(spool, house.identity()):
            await eventually(lambda: len(collector.heartbeats) >= 2)

    asyncio.run(scenario())
    assert collector.heartbeats[-1].ledger.stored == 1


def test_another_address_is_tried(house: House, spool: Spool) -> None:
    """Where the first address does not answer, the next one is used."""
    identity = dataclasses.replace(house.identity(), agent_addresses=("localhost:1", house.address))

    async def scenario() -> None:
        append(spool, "by the second way")
        async with house.serving(Collector()), reporting(spool, identity) as reporter:
            await reporter.wait_until_delivered(60)

    asyncio.run(scenario())


def test_a_drained_agent_comes_back(house: House, spool: Spool) -> None:
    """Drain is followed by a new stream after the delay that it names."""
    drain = wire.ConnectResponse(drain=wire.Drain(reconnect_after_seconds=0.1))
    collector = Collector(after_welcome=[drain])

    async def scenario() -> None:
        async with house.serving(collector), reporting(spool, house.identity()):
            await eventually(lambda: len(collector.hellos) >= 2)

    asyncio.run(scenario())


def test_the_collector_says_when_to_retry(house: House, spool: Spool) -> None:
    """RetryInfo is a floor under the agent's own delay."""
    times: list[float] = []

    async def refuse(collector: Collector, context: Context) -> None:
        times.append(asyncio.get_running_loop().time())
        status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="full")
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(700)
        status.details.add().Pack(retry)
        if len(times) == 1:
            context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "full")

    collector = Collector(on_hello=refuse)

    async def scenario() -> None:
        async with house.serving(collector), reporting(spool, house.identity()):
            await eventually(lambda: len(times) >= 2)

    asyncio.run(scenario())
    assert times[1] - times[0] >= 0.7


def trouble_of(
    spool: Spool, identity: Identity, *, serving: contextlib.AbstractAsyncContextManager[None]
) -> Trouble:
    async def scenario() -> Trouble:
        async with serving, reporting(spool, identity) as reporter:
            await eventually(lambda: reporter.last_diagnosis is not None)
            assert reporter.last_diagnosis is not None
            return reporter.last_diagnosis.trouble

    return asyncio.run(scenario())


def test_a_collector_that_is_down_is_unreachable(house: House, spool: Spool) -> None:
    """Nobody listens: the trouble is the network, not the certificate."""
    down = contextlib.nullcontext()
    assert Trouble.UNREACHABLE is trouble_of(spool, house.identity(), serving=down)


def test_a_stranger_in_its_place_is_not_trusted(house: House, spool: Spool, tmp_path: Path) -> None:
    """A server whose certificate is another CA's is named as that."""
    other = make_house(tmp_path / "other")
    identity = house.identity(trusting=other.authority)
    assert Trouble.COLLECTOR_NOT_TRUSTED is trouble_of(spool, identity, serving=house.serving(Collector()))


def test_a_certificate_of_another_authority_is_refused_by_tls(
    house: House, spool: Spool, tmp_path: Path
) -> None:
    """gRPC says UNAVAILABLE here too, so the agent finds out by itself."""
    stranger = make_house(tmp_path / "stranger")
    stranger.port = house.port
    identity = stranger.identity(trusting=house.authority)
    assert Trouble.REFUSED_BY_TLS is trouble_of(spool, identity, serving=house.serving(Collector()))


def test_a_revoked_machine_is_told_so(house: House, spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    """The log says what happened in a sentence, once."""

    async def refuse(collector: Collector, context: Context) -> None:
        await context.abort(grpc.StatusCode.PERMISSION_DENIED, "machine was revoked")

    with caplog.at_level(logging.WARNING):
        serving = house.serving(Collector(on_hello=refuse))
        assert Trouble.REVOKED is trouble_of(spool, house.identity(), serving=serving)
    assert sum("does not admit this machine" in record.getMessage() for record in caplog.records) == 1


def test_what_is_not_delivered_in_time_is_said(house: House, spool: Spool) -> None:
    """The deadline names the number that waits and the reason why."""

    async def scenario() -> None:
        append(spool, "waits")
        async with reporting(spool, house.identity()) as reporter:
            await eventually(lambda: reporter.last_diagnosis is not None)
            await reporter.wait_until_delivered(0.1)

    with pytest.raises(DeliveryError, match=r"1 records were not delivered .* cannot be reached"):
        asyncio.run(scenario())


def test_at_most_one_window_is_under_way(house: House, spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that is slow to commit holds the agent back."""
    monkeypatch.setattr(session, "MAX_IN_FLIGHT_RECORDS", 3)
    batches: list[int] = []
    held = asyncio.Event()

    async def hold(collector: Collector, context: Context) -> None:
        batches.append(len(collector.records))
        await held.wait()

    collector = Collector(on_batch=hold)

    async def scenario() -> None:
        for number in range(300):
            append(spool, str(number))
        async with house.serving(collector), reporting(spool, house.identity()) as reporter:
            await eventually(lambda: bool(batches))
            await asyncio.sleep(0.3)
            with spool._file.reading() as connection:
                assert connection.execute("SELECT offered FROM spool").fetchone()[0] == 256
            held.set()
            await reporter.wait_until_delivered(60)

    asyncio.run(scenario())
    assert len(collector.records) == 300


def test_the_delay_doubles_to_a_minute_and_starts_anew_after_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    """Full jitter draws from zero to a bound of 1 s, 2 s, 4 s, ... 60 s; two stable minutes reset it."""
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    delays = reconnect.Reconnect()
    assert [delays.delay_after(0) for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert delays.delay_after(121) == 1
    assert delays.delay_after(0, asked_seconds=5) == 2 + 5


def test_who_waits_learns_that_the_reporter_has_ended(house: House, spool: Spool) -> None:
    """Not at the deadline of the delivery, and with the cause."""

    async def deliver() -> None:
        async with house.serving(Collector()):
            reporter = Reporter(
                spool,
                Renewal(Path("no-such-folder"), house.identity()),
                read_machine=machine_pb2.Machine,
                on_command=pass_on,
            )
            running = asyncio.create_task(reporter.run())
            append(spool, "one")
            try:
                await reporter.wait_until_delivered(600)
            finally:
                await asyncio.gather(running, return_exceptions=True)

    failpoints.arm({failpoints.VARIABLE: "agent.send.before=error"})
    try:
        with pytest.raises(OSError, match=r"failpoint agent\.send\.before"):
            asyncio.run(deliver())
    finally:
        failpoints.arm({})
