"""What tests of the CLI share: a way to run it, example runs, golden files, a collector on loopback."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import hashlib
import io
import ipaddress
import json
import sys
import threading
from concurrent import futures
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.protobuf import json_format
from llmenv.fleet.v1 import fleet_report_pb2 as report_messages
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv.fleet.v1 import fleet_service_pb2_grpc as services
from llmenv.fleet.v1 import fleet_watch_pb2 as watch_messages
from llmenv.fleet.v1.notice_service_pb2_grpc import add_NoticeServiceServicer_to_server
from llmenv.fleet.v1.run_pb2 import Run
from llmenv_cli import main as program
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode

from .notice_collector import NoticeCollector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from syrupy.assertion import SnapshotAssertion
    from syrupy.location import PyTestLocation
    from syrupy.types import SnapshotIndex

FOLDER = Path(__file__).resolve().parent
RUNS = FOLDER / "runs"
REPORTS = FOLDER / "fleet_reports"
GOOD_SECRET, EXPIRED_SECRET, VIEWER_SECRET = "good-secret", "expired-secret", "viewer-secret"
READY_RUN_ID = "019c6120-0000-7000-8000-0000000000aa"
HOUR = dt.timedelta(hours=1)


class GoldenFile(SingleFileSnapshotExtension):
    """One file a case in tests/golden, to be read as it is."""

    _write_mode = WriteMode.TEXT
    file_extension = "txt"

    @classmethod
    def get_snapshot_name(cls, *, test_location: PyTestLocation, index: SnapshotIndex = 0) -> str:
        return str(index)

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:
        return str(FOLDER.parent / "golden" / test_location.basename)


@pytest.fixture
def golden(snapshot: SnapshotAssertion) -> SnapshotAssertion:
    """Compares with a file in tests/golden; `pytest --snapshot-update` writes it."""
    return snapshot.use_extension(GoldenFile)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a call of llmenv left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def llmenv(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., Outcome]:
    """Runs llmenv in this process, with settings of its own, 80 columns and no terminal."""
    for variable in ("LLMENV_TOKEN", "LLMENV_LANG", "LLMENV_FORMAT", "LLMENV_DEBUG", "LLMENV_TARGET"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("LLMENV_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("COLUMNS", "80")

    def call(*arguments: str, stdin: bytes = b"") -> Outcome:
        monkeypatch.setattr(sys, "argv", ["llmenv", *arguments])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8"))
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            program.main()
        captured = capfd.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    return call


def read_run(name: str) -> Run:
    return json_format.Parse((RUNS / f"{name}.json").read_text("utf-8"), Run())


@pytest.fixture
def ready_run() -> Run:
    """A M2 Ultra on which all works but quantization."""
    return read_run("ready_m2_ultra")


@pytest.fixture
def not_ready_run() -> Run:
    """The same machine with a failure, a timeout, a crash, a missing package and checks that never ran."""
    return read_run("not_ready")


def read_report(name: str, kind: Any = report_messages.GetFleetReportResponse) -> Any:
    """An answer about the fleet from tests/cli/fleet_reports."""
    return json_format.Parse((REPORTS / f"{name}.json").read_text("utf-8"), kind())


@pytest.fixture
def full_report() -> report_messages.GetFleetReportResponse:
    """14 machines with everything that a report can say, and with names that try to do harm."""
    return read_report("full")


@pytest.fixture
def quiet_report() -> report_messages.GetFleetReportResponse:
    """Two machines on which all is well."""
    return read_report("quiet")


@pytest.fixture
def comparison_answer() -> report_messages.CompareFleetResponse:
    """Two machines that differ in measurements, verdicts, versions and facts."""
    return read_report("compare", report_messages.CompareFleetResponse)


@pytest.fixture
def upgrade_answer() -> report_messages.CheckUpgradeResponse:
    """A version that is not safe, and that one chip has not tried."""
    return read_report("upgrade", report_messages.CheckUpgradeResponse)


class FleetServicer(services.FleetServiceServicer):
    """Answers like a collector with two runs of one machine. `answers` may replace the fleet report."""

    def __init__(self) -> None:
        self.report = report_messages.GetFleetReportResponse()
        self.comparison = report_messages.CompareFleetResponse()
        self.upgrade = report_messages.CheckUpgradeResponse()
        self.self_test = report_messages.SelfTestStatisticsResponse()
        self.page_parts: list[bytes] = []
        self.ledger = messages.GetDeliveryResponse()
        self.query_parts: list[messages.QueryResponse] = []
        self.commands: list[messages.IssuedCommand] = []
        self.steps: list[messages.WatchCommandResponse] = []
        self.imported = messages.ImportMeasurementsResponse()
        self.imports: list[messages.ImportedFile] = []
        self.known_failures: list[messages.KnownFailure] = []
        self.schedules: list[messages.FleetSchedule] = []
        self.times_lost = 0
        self.watches: list[list[watch_messages.WatchFleetResponse]] = []
        self.watch_ends: tuple[grpc.StatusCode, str] | None = None
        self.may_end = threading.Event()
        self.requests: list[Any] = []
        self.ca_pem = ""
        self.machine_ids: tuple[str, ...] = ()
        """Of its two runs, which are then of machines that are called alike."""
        self.notices = NoticeCollector()

    def _admit(self, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append(request)
        given = dict(context.invocation_metadata()).get("authorization")
        if given == f"Bearer {EXPIRED_SECRET}":
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "The token has expired.")
        if given not in {f"Bearer {GOOD_SECRET}", f"Bearer {VIEWER_SECRET}"}:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "The token is not known to this collector.")

    def WhoAmI(self, request: Any, context: grpc.ServicerContext) -> messages.WhoAmIResponse:  # noqa: N802
        self._admit(request, context)
        answer = messages.WhoAmIResponse(
            role="analyst", label="laptop", collector_version="0.1.0", ca_pem=self.ca_pem
        )
        answer.expires_at.FromDatetime(dt.datetime(2026, 5, 1, tzinfo=dt.UTC))
        return answer

    def ListMachines(self, request: Any, context: grpc.ServicerContext) -> messages.ListMachinesResponse:  # noqa: N802
        self._admit(request, context)
        seen = messages.FleetMachine(
            machine=read_run("ready_m2_ultra").machine,
            is_connected=True,
            agent_version="0.1.0",
            labels={"room": "b12", "loan": "yes"},
            state=messages.MACHINE_STATE_ENROLLED,
        )
        seen.last_seen_at.FromDatetime(dt.datetime(2026, 2, 15, 17, 0, tzinfo=dt.UTC))
        seen.last_run_at.FromDatetime(dt.datetime(2026, 2, 15, 16, 20, tzinfo=dt.UTC))
        silent = messages.FleetMachine(state=messages.MACHINE_STATE_PENDING)
        silent.machine.hostname = "air-7"
        silent.machine.machine_id = "019c6120-0000-7000-8000-000000000002"
        return messages.ListMachinesResponse(machines=[silent, seen])

    def ListRuns(self, request: Any, context: grpc.ServicerContext) -> messages.ListRunsResponse:  # noqa: N802
        self._admit(request, context)
        runs = [
            summary("not_ready", is_ready=False, counts={"fail": 1, "unknown": 2}),
            summary("ready_m2_ultra", is_ready=True, counts={"pass": 6, "warn": 1}, schedule_name="nightly"),
        ]
        for run, machine_id in zip(runs, self.machine_ids, strict=False):
            run.machine_id, run.hostname = machine_id, "mac-studio-3"
        return messages.ListRunsResponse(runs=runs[: request.limit], total_runs=2)

    def GetRun(self, request: Any, context: grpc.ServicerContext) -> messages.GetRunResponse:  # noqa: N802
        self._admit(request, context)
        if not READY_RUN_ID.startswith(request.run_id):
            context.abort(grpc.StatusCode.NOT_FOUND, f"There is no run {request.run_id!r}.")
        return messages.GetRunResponse(run=read_run("ready_m2_ultra"))

    def GetFleetReport(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> report_messages.GetFleetReportResponse:
        self._admit(request, context)
        return self.report

    def RenderFleetReport(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[report_messages.RenderFleetReportResponse]:
        self._admit(request, context)
        for part in self.page_parts:
            yield report_messages.RenderFleetReportResponse(html=part)

    def CompareFleet(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> report_messages.CompareFleetResponse:
        self._admit(request, context)
        return self.comparison

    def CheckUpgrade(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> report_messages.CheckUpgradeResponse:
        self._admit(request, context)
        return self.upgrade

    def RenderComparison(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[report_messages.RenderComparisonResponse]:
        self._admit(request, context)
        for number, part in enumerate(self.page_parts):
            answer = None if number else self.comparison
            yield report_messages.RenderComparisonResponse(html=part, answer=answer)

    def RenderUpgrade(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[report_messages.RenderUpgradeResponse]:
        self._admit(request, context)
        for number, part in enumerate(self.page_parts):
            answer = None if number else self.upgrade
            yield report_messages.RenderUpgradeResponse(html=part, answer=answer)

    def SelfTestStatistics(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> report_messages.SelfTestStatisticsResponse:
        self._admit(request, context)
        return self.self_test

    def GetDelivery(self, request: Any, context: grpc.ServicerContext) -> messages.GetDeliveryResponse:  # noqa: N802
        self._admit(request, context)
        return self.ledger

    def Query(self, request: Any, context: grpc.ServicerContext) -> Iterator[messages.QueryResponse]:  # noqa: N802
        self._admit(request, context)
        if dict(context.invocation_metadata()).get("authorization") == f"Bearer {VIEWER_SECRET}":
            context.abort(grpc.StatusCode.PERMISSION_DENIED, "Query needs the role analyst.")
        if "nonsense" in request.sql:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "Parser Error: syntax error at 'nonsense'.")
        yield from self.query_parts

    def IssueCommand(self, request: Any, context: grpc.ServicerContext) -> messages.IssueCommandResponse:  # noqa: N802
        self._admit(request, context)
        batch_id = "" if request.is_dry_run else self.commands[0].batch_id
        return messages.IssueCommandResponse(batch_id=batch_id, commands=self.commands)

    def CancelCommand(self, request: Any, context: grpc.ServicerContext) -> messages.CancelCommandResponse:  # noqa: N802
        self._admit(request, context)
        return messages.CancelCommandResponse(commands=self.commands)

    def ListCommands(self, request: Any, context: grpc.ServicerContext) -> messages.ListCommandsResponse:  # noqa: N802
        self._admit(request, context)
        return messages.ListCommandsResponse(commands=self.commands[: request.limit])

    def ImportMeasurements(  # noqa: N802
        self, request_iterator: Any, context: grpc.ServicerContext
    ) -> messages.ImportMeasurementsResponse:
        self._admit(list(request_iterator), context)
        return self.imported

    def SetSchedule(self, request: Any, context: grpc.ServicerContext) -> messages.SetScheduleResponse:  # noqa: N802
        self._admit(request, context)
        return messages.SetScheduleResponse(schedule=self.schedules[0])

    def RemoveSchedule(self, request: Any, context: grpc.ServicerContext) -> messages.RemoveScheduleResponse:  # noqa: N802
        self._admit(request, context)
        return messages.RemoveScheduleResponse(schedule=self.schedules[0])

    def ListSchedules(self, request: Any, context: grpc.ServicerContext) -> messages.ListSchedulesResponse:  # noqa: N802
        self._admit(request, context)
        named = [one for one in self.schedules if request.name in {"", one.schedule.name}]
        return messages.ListSchedulesResponse(schedules=named)

    def ListImports(self, request: Any, context: grpc.ServicerContext) -> messages.ListImportsResponse:  # noqa: N802
        self._admit(request, context)
        return messages.ListImportsResponse(imports=self.imports[: request.limit], total=len(self.imports))

    def WithdrawImport(self, request: Any, context: grpc.ServicerContext) -> messages.WithdrawImportResponse:  # noqa: N802
        self._admit(request, context)
        return messages.WithdrawImportResponse(imported=self.imports[-1])

    def AcknowledgeFinding(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> messages.AcknowledgeFindingResponse:
        self._admit(request, context)
        return messages.AcknowledgeFindingResponse(
            known_failure=self.known_failures[0], hostnames=["air-7", "studio-3"]
        )

    def WithdrawAcknowledgement(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> messages.WithdrawAcknowledgementResponse:
        self._admit(request, context)
        return messages.WithdrawAcknowledgementResponse(known_failure=self.known_failures[-1])

    def ListAcknowledgements(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> messages.ListAcknowledgementsResponse:
        self._admit(request, context)
        return messages.ListAcknowledgementsResponse(
            known_failures=self.known_failures[: request.limit], total=len(self.known_failures)
        )

    def WatchFleet(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[watch_messages.WatchFleetResponse]:
        """The first of `watches`, and the others after as many losses; then it ends as `watch_ends` says."""
        self._admit(request, context)
        if self.watches:
            yield from self.watches.pop(0)
        if self.watches:
            context.abort(grpc.StatusCode.UNAVAILABLE, "The collector stops.")
        if self.watch_ends:
            context.abort(*self.watch_ends)
        self.may_end.wait()

    def WatchCommand(  # noqa: N802
        self, request: Any, context: grpc.ServicerContext
    ) -> Iterator[messages.WatchCommandResponse]:
        """Breaks off after its first steps as often as `times_lost` says."""
        self._admit(request, context)
        if self.times_lost:
            self.times_lost -= 1
            yield from self.steps[:2]
            context.abort(grpc.StatusCode.UNAVAILABLE, "The collector stops.")
        yield from self.steps


def summary(
    name: str, *, is_ready: bool, counts: dict[str, int], schedule_name: str = ""
) -> messages.RunSummary:
    run = read_run(name)
    return messages.RunSummary(
        run_id=run.run_id,
        machine_id=run.machine.machine_id,
        hostname=run.machine.hostname,
        chip=run.machine.chip,
        environment_name=run.environment.name,
        suite=run.suite,
        device=run.device,
        started_at=run.started_at,
        ended_at=run.ended_at,
        outcome=run.outcome,
        status_counts=counts,
        readiness=report_messages.Readiness(is_ready=is_ready),
        schedule_name=schedule_name,
    )


@dataclasses.dataclass(frozen=True)
class Authority:
    """A certificate authority, and a server certificate that it signed for 127.0.0.1."""

    certificate: x509.Certificate
    chain_pem: bytes
    key_pem: bytes

    @property
    def pin(self) -> str:
        public_key = self.certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return base64.urlsafe_b64encode(hashlib.sha256(public_key).digest()).decode().rstrip("=")


def new_authority(host: str = "127.0.0.1") -> Authority:
    ca_key, server_key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    ca_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test CA")])
    ca = (
        _unsigned(ca_name, ca_name, ca_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(ca_key, hashes.SHA256())
    )
    server_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test collector")])
    alternative = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))])
    server = _unsigned(server_name, ca_name, server_key).add_extension(alternative, critical=False)
    certificates = (server.sign(ca_key, hashes.SHA256()), ca)
    return Authority(
        certificate=ca,
        chain_pem=b"".join(one.public_bytes(serialization.Encoding.PEM) for one in certificates),
        key_pem=server_key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ),
    )


def _unsigned(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=now - HOUR,
        not_valid_after=now + HOUR,
    )


@dataclasses.dataclass(frozen=True)
class Collector:
    """A gRPC server with TLS on a port of loopback."""

    port: int
    authority: Authority
    servicer: FleetServicer

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def token(self, secret: str = GOOD_SECRET, *, pin: str | None = None, address: str | None = None) -> str:
        """As a collector prints it."""
        content = {"a": address or self.address, "p": pin or self.authority.pin, "t": secret}
        return "llmenv1." + base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A collector that people can log in to with `collector.token()`."""
    authority = new_authority()
    servicer = FleetServicer()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=2))
    services.add_FleetServiceServicer_to_server(servicer, server)
    add_NoticeServiceServicer_to_server(servicer.notices, server)
    credentials = grpc.ssl_server_credentials([(authority.key_pem, authority.chain_pem)])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    yield Collector(port=port, authority=authority, servicer=servicer)
    servicer.may_end.set()
    server.stop(grace=None).wait()


@pytest.fixture
def logged_in(
    llmenv: Callable[..., Outcome], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> Collector:
    """The same collector, already known to llmenv."""
    monkeypatch.setenv("LLMENV_TOKEN", collector.token())
    assert llmenv("login").code == 0
    monkeypatch.delenv("LLMENV_TOKEN")
    return collector


@pytest.fixture
def stranger_ca_pem() -> str:
    """An authority that signed nothing here."""
    return new_authority().certificate.public_bytes(serialization.Encoding.PEM).decode()
