"""A real collector in a process of its own, and a plain client that speaks to it over TLS."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from llmenv.fleet.v1 import agent_service_pb2, enrollment_service_pb2, record_pb2
from llmenv.fleet.v1.agent_service_pb2 import ConnectRequest, ConnectResponse
from llmenv.fleet.v1.agent_service_pb2_grpc import AgentServiceStub
from llmenv.fleet.v1.enrollment_service_pb2_grpc import EnrollmentServiceStub
from llmenv.ids import new_id
from llmenv.printed_token import PrintedToken

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

COMMAND = [sys.executable, "-m", "llmenv_collector.main"]
PATIENCE_SECONDS = 60.0
"""For what comes at once on a machine that has nothing else to do."""


def run_command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=180, check=False)


class RunningCollector:
    """A data folder with `serve` on it, on ports that the system chooses."""

    def __init__(self, folder: Path, *flags: str, settings: str = "") -> None:
        self.folder = folder
        self.flags = flags
        self.admin_secret = PrintedToken.parse(run_command("init", "--data", str(folder)).stdout).secret
        if settings:
            (folder / "collector.toml").write_text(settings)
        self.start()

    def start(self, command: Sequence[str] = COMMAND) -> None:
        listen = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(
            [*command, "serve", "--data", str(self.folder), *listen, *self.flags],
            stderr=subprocess.PIPE,
            text=True,
        )
        self.log: list[str] = []
        while (line := self.process.stderr.readline()) and not line.startswith("ready: "):
            self.log.append(line)
        assert line, "".join(self.log)
        # Read for as long as it lives: a full pipe would hold up the collector.
        self._listening = threading.Thread(target=self.log.extend, args=(self.process.stderr,), daemon=True)
        self._listening.start()
        serving = json.loads((self.folder / "serving.json").read_text())
        self.people_address, self.agents_address = serving["people_address"], serving["agents_address"]
        self.ca = (self.folder / "ca.pem").read_bytes()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        returncode = self.process.wait(timeout=90)
        self._listening.join()
        self.process.stderr.close()
        return returncode

    def token(self, *arguments: str) -> PrintedToken:
        done = run_command("token", "create", "--data", str(self.folder), *arguments)
        assert done.returncode == 0, done.stderr
        return PrintedToken.parse(done.stdout)

    def secret(self, *arguments: str) -> str:
        return self.token(*arguments).secret

    def people_channel(self) -> grpc.Channel:
        return grpc.secure_channel(self.people_address, grpc.ssl_channel_credentials(self.ca))

    def enrol(self, hostname: str = "m2-ultra") -> EnrolledMachine:
        key = ec.generate_private_key(ec.SECP256R1())
        with self.people_channel() as channel:
            response = EnrollmentServiceStub(channel).Enroll(
                enrollment_service_pb2.EnrollRequest(
                    token=self.secret(),
                    certificate_signing_request=signing_request(key),
                    machine={"hostname": hostname, "chip": "Apple M2 Ultra", "is_apple_silicon": True},
                    agent_version="0.1.0",
                )
            )
        return EnrolledMachine(self, response.machine_id, key_pem(key), response.certificate_pem.encode())

    def database(self) -> Any:
        """The stopped collector's database, for counting."""
        import duckdb

        return duckdb.connect(str(self.folder / "llmenv.duckdb"), read_only=True)


def signing_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a machine")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    plain = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)


@dataclass(frozen=True)
class EnrolledMachine:
    collector: RunningCollector
    machine_id: str
    key: bytes
    certificate: bytes

    def connect(self, spool_id: str, **hello: Any) -> AgentStream:
        """Says Hello and reads Welcome."""
        stream = AgentStream(self)
        message = {"machine_id": self.machine_id, "spool_id": spool_id, "protocol_revision": 1, **hello}
        stream.send(hello=agent_service_pb2.Hello(**message))
        stream.welcome = stream.receive("welcome")
        return stream

    def record(self, **kind: Any) -> bytes:
        """A serialised record of this machine, as its spool would hold it."""
        fields = {"record_id": new_id(), "machine_id": self.machine_id, **kind}
        record = record_pb2.Record(**fields)
        record.measured_at.GetCurrentTime()
        return record.SerializeToString()

    def check_started(self) -> bytes:
        started = record_pb2.CheckStarted(run_id=new_id(), result_id=new_id(), check_name="torch_basics")
        return self.record(check_started=started)


class AgentStream:
    """The agent's side of one stream, with a thread that reads."""

    def __init__(self, machine: EnrolledMachine) -> None:
        self.machine = machine
        credentials = grpc.ssl_channel_credentials(machine.collector.ca, machine.key, machine.certificate)
        self.channel = grpc.secure_channel(machine.collector.agents_address, credentials)
        self.outgoing: queue.SimpleQueue[ConnectRequest | None] = queue.SimpleQueue()
        self.incoming: queue.SimpleQueue[ConnectResponse | grpc.RpcError | None] = queue.SimpleQueue()
        self.call = AgentServiceStub(self.channel).Connect(iter(self.outgoing.get, None))
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for response in self.call:
                self.incoming.put(response)
            self.incoming.put(None)
        except grpc.RpcError as error:
            self.incoming.put(error)

    def send(self, **message: Any) -> None:
        self.outgoing.put(ConnectRequest(**message))

    def deliver(self, records: Sequence[bytes], *, first: int) -> None:
        spooled = [{"sequence": number, "record": record} for number, record in enumerate(records, first)]
        self.send(records=agent_service_pb2.RecordBatch(records=spooled))

    def receive(self, kind: str) -> Any:
        """The next message, which must be of this kind; a heartbeat may come before any other."""
        response = self._next()
        while kind != "heartbeat" and response.WhichOneof("message") == "heartbeat":
            response = self._next()
        assert kind == response.WhichOneof("message"), response
        return getattr(response, kind)

    def _next(self) -> ConnectResponse:
        response = self.incoming.get(timeout=PATIENCE_SECONDS)
        if isinstance(response, grpc.RpcError):
            raise response
        assert response is not None, "the stream ended"
        return response

    def status(self) -> grpc.StatusCode:
        """How the stream ended, after everything it still said."""
        while isinstance(response := self.incoming.get(timeout=PATIENCE_SECONDS), ConnectResponse):
            pass
        return response.code() if response else grpc.StatusCode.OK

    def close(self) -> None:
        self.outgoing.put(None)
        self.status()
        self.channel.close()


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """One collector for the tests of a module; each test enrols machines of its own."""
    running = RunningCollector(
        tmp_path_factory.mktemp("collector") / "data", "--sql-seconds", "120", "--sql-memory-mb", "400"
    )
    yield running
    running.stop()


@pytest.fixture
def own_collector(tmp_path: Path) -> Iterator[RunningCollector]:
    """A collector that the test may stop, kill and start."""
    running = RunningCollector(tmp_path / "data", "--heartbeat-seconds", "0.2")
    yield running
    running.stop()


@pytest.fixture
def unused_port() -> int:
    """On loopback, free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_until(condition: Any, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
