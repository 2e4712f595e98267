"""Asks a collector, and says in llmenv's own errors what gRPC says in its."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Self

import grpc
from llmenv.fleet.v1 import fleet_report_pb2, fleet_watch_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as messages
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub

from llmenv_cli.errors import CliError, RefusedError, UnreachableError, UsageError
from llmenv_cli.interrupts import ended_by_ctrl_c

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator
    from types import TracebackType

    from llmenv.fleet.v1.run_pb2 import Run

    from llmenv_cli.credentials import Credentials

    HtmlPart = fleet_report_pb2.RenderComparisonResponse | fleet_report_pb2.RenderUpgradeResponse

IMPORT_PART = 256 << 10
LEARN_SECONDS = 5.0
"""Nobody waits longer for what is only by the way."""
CHANNEL_OPTIONS = (
    # A collector is a machine of the lab, which a web proxy does not know.
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # Who watches for hours notices a collector that is gone; without the ping timeout not one that sleeps.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    # Who watches while the collector restarts is back soon after it.
    ("grpc.max_reconnect_backoff_ms", 5_000),
)


# What gRPC says of a certificate that the CA did not sign, of one for another host, and of no TLS at all.
UNTRUSTED = ("handshake failed", "verification check failed")
FAILED = "The collector at {address} failed ({code}): {details}."
SENTENCES: dict[grpc.StatusCode, tuple[type[CliError], str]] = {
    grpc.StatusCode.INVALID_ARGUMENT: (UsageError, "{details}."),
    grpc.StatusCode.NOT_FOUND: (UsageError, "{details}."),
    grpc.StatusCode.FAILED_PRECONDITION: (UsageError, "{details}."),
    grpc.StatusCode.RESOURCE_EXHAUSTED: (UsageError, "The collector stopped it: {details}."),
    grpc.StatusCode.UNAUTHENTICATED: (
        RefusedError,
        "The collector at {address} does not accept the token: {details}.",
    ),
    grpc.StatusCode.PERMISSION_DENIED: (RefusedError, "The token may not do this at {address}: {details}."),
    grpc.StatusCode.DEADLINE_EXCEEDED: (
        UnreachableError,
        "The collector at {address} did not answer in time; LLMENV_TIMEOUT_SECONDS raises the limit.",
    ),
    grpc.StatusCode.UNIMPLEMENTED: (
        UnreachableError,
        "The collector at {address} is older than this llmenv and cannot answer this.",
    ),
}


class FleetClient:
    """One connection to the collector of the credentials. Close it, or use it in a `with` block."""

    def __init__(self, credentials: Credentials, *, timeout_seconds: float) -> None:
        self._credentials = credentials
        self._address = credentials.address
        self._timeout = timeout_seconds
        # The first report of a year of a large fleet takes a busy collector longer than any listing.
        self._patience = 4 * timeout_seconds
        self._metadata = (("authorization", f"Bearer {credentials.token}"),)
        tls = grpc.ssl_channel_credentials(root_certificates=credentials.ca_pem.encode())
        self._channel = grpc.secure_channel(credentials.address, tls, options=CHANNEL_OPTIONS)
        self._stub = FleetServiceStub(self._channel)
        self._has_answered = False

    @property
    def address(self) -> str:
        """Of the collector, host:port."""
        return self._address

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._has_answered and self._credentials.are_to_learn():
            self._learn()
        self._channel.close()

    def _learn(self) -> None:
        """While its authority is rotated, the collector names the next one: here it has shown itself."""
        timeout = min(self._timeout, LEARN_SECONDS)
        with contextlib.suppress(CliError), self._translated():
            answer = self._stub.WhoAmI(messages.WhoAmIRequest(), timeout=timeout, metadata=self._metadata)
            self._credentials.learn(answer.ca_pem)

    def who_am_i(self) -> messages.WhoAmIResponse:
        with self._translated():
            return self._stub.WhoAmI(messages.WhoAmIRequest(), timeout=self._timeout, metadata=self._metadata)

    def machines(self) -> list[messages.FleetMachine]:
        """Sorted by hostname."""
        request = messages.ListMachinesRequest()
        with self._translated():
            answer = self._stub.ListMachines(request, timeout=self._timeout, metadata=self._metadata)
        return list(answer.machines)

    def runs(self, *, machine: str, limit: int) -> messages.ListRunsResponse:
        """Newest first; `machine` is an id or hostname, empty for all."""
        request = messages.ListRunsRequest(machine=machine, limit=limit)
        with self._translated():
            return self._stub.ListRuns(request, timeout=self._timeout, metadata=self._metadata)

    def run(self, run_id: str) -> Run:
        """By its id or a unique prefix."""
        request = messages.GetRunRequest(run_id=run_id)
        with self._translated():
            return self._stub.GetRun(request, timeout=self._timeout, metadata=self._metadata).run

    def report(
        self, request: fleet_report_pb2.GetFleetReportRequest
    ) -> fleet_report_pb2.GetFleetReportResponse:
        with self._translated():
            return self._stub.GetFleetReport(request, timeout=self._patience, metadata=self._metadata)

    def report_page(
        self, request: fleet_report_pb2.GetFleetReportRequest, *, language: str
    ) -> Iterator[bytes]:
        """The same as one HTML file, in parts."""
        asked = fleet_report_pb2.RenderFleetReportRequest(report=request, language=language)
        with self._translated():
            for part in self._stub.RenderFleetReport(asked, timeout=self._patience, metadata=self._metadata):
                yield part.html

    def compare(
        self, *, baseline: str, candidate: str, within: fleet_report_pb2.GetFleetReportRequest
    ) -> fleet_report_pb2.CompareFleetResponse:
        """Two machines, chips, versions or dates."""
        request = fleet_report_pb2.CompareFleetRequest(baseline=baseline, candidate=candidate, within=within)
        with self._translated():
            return self._stub.CompareFleet(request, timeout=self._patience, metadata=self._metadata)

    def check_upgrade(
        self, requirement: str, *, within: fleet_report_pb2.GetFleetReportRequest
    ) -> fleet_report_pb2.CheckUpgradeResponse:
        """May the fleet move to it?"""
        request = fleet_report_pb2.CheckUpgradeRequest(requirement=requirement, within=within)
        with self._translated():
            return self._stub.CheckUpgrade(request, timeout=self._patience, metadata=self._metadata)

    def comparison_page(
        self,
        *,
        baseline: str,
        candidate: str,
        within: fleet_report_pb2.GetFleetReportRequest,
        language: str,
    ) -> tuple[fleet_report_pb2.CompareFleetResponse, Iterator[bytes]]:
        """What `compare` answers, and the same as one HTML file, in parts."""
        comparison = fleet_report_pb2.CompareFleetRequest(
            baseline=baseline, candidate=candidate, within=within
        )
        asked = fleet_report_pb2.RenderComparisonRequest(comparison=comparison, language=language)
        with self._translated():
            call = self._stub.RenderComparison(asked, timeout=self._patience, metadata=self._metadata)
            first = next(call)
        return first.answer, self._page(first, call)

    def upgrade_page(
        self, requirement: str, *, within: fleet_report_pb2.GetFleetReportRequest, language: str
    ) -> tuple[fleet_report_pb2.CheckUpgradeResponse, Iterator[bytes]]:
        """What `check_upgrade` answers, and the same as one HTML file, in parts."""
        upgrade = fleet_report_pb2.CheckUpgradeRequest(requirement=requirement, within=within)
        asked = fleet_report_pb2.RenderUpgradeRequest(upgrade=upgrade, language=language)
        with self._translated():
            call = self._stub.RenderUpgrade(asked, timeout=self._patience, metadata=self._metadata)
            first = next(call)
        return first.answer, self._page(first, call)

    def _page(self, first: HtmlPart, rest: Iterable[HtmlPart]) -> Iterator[bytes]:
        yield first.html
        with self._translated():
            for part in rest:
                yield part.html

    def self_test(
        self, request: fleet_report_pb2.SelfTestStatisticsRequest
    ) -> fleet_report_pb2.SelfTestStatisticsResponse:
        with self._translated():
            # Twice the patience: at its own limit the collector says more than "no answer in time".
            return self._stub.SelfTestStatistics(request, timeout=2 * self._timeout, metadata=self._metadata)

    def delivery(self, *, machine: str) -> messages.GetDeliveryResponse:
        """The ledger; `machine` is an id or hostname, empty for all."""
        request = messages.GetDeliveryRequest(machine=machine)
        with self._translated():
            return self._stub.GetDelivery(request, timeout=self._timeout, metadata=self._metadata)

    def query(
        self, sql: str, *, max_rows: int, parameters: Iterable[messages.QueryParameter] = ()
    ) -> Generator[messages.QueryResponse]:
        """The parts of one Arrow IPC stream, in order; who leaves off ends the statement."""
        request = messages.QueryRequest(sql=sql, max_rows=max_rows, parameters=parameters)
        with self._translated():
            # The collector bounds a statement itself; the rest is how long a large answer takes to write.
            parts = self._stub.Query(request, timeout=2 * self._patience, metadata=self._metadata)
            try:
                with ended_by_ctrl_c(parts):
                    yield from parts
            finally:
                parts.cancel()

    def issue(self, request: messages.IssueCommandRequest) -> messages.IssueCommandResponse:
        """One command a machine."""
        with self._translated():
            return self._stub.IssueCommand(request, timeout=self._timeout, metadata=self._metadata)

    def cancel(self, identity: str) -> list[messages.IssuedCommand]:
        """Those of a command, batch or run that had not ended yet."""
        request = messages.CancelCommandRequest(id=identity)
        with self._translated():
            answer = self._stub.CancelCommand(request, timeout=self._timeout, metadata=self._metadata)
        return list(answer.commands)

    def commands(self, *, batch_id: str, limit: int) -> list[messages.IssuedCommand]:
        """Newest first; of one batch, or all where `batch_id` is empty."""
        request = messages.ListCommandsRequest(batch_id=batch_id, limit=limit)
        with self._translated():
            answer = self._stub.ListCommands(request, timeout=self._timeout, metadata=self._metadata)
        return list(answer.commands)

    def watch(self, identity: str) -> Iterator[messages.WatchCommandResponse]:
        """Every step of a command or a batch, however long it takes."""
        request = messages.WatchCommandRequest(id=identity)
        with self._translated():
            steps = self._stub.WatchCommand(request, metadata=self._metadata)
            with ended_by_ctrl_c(steps):
                yield from steps

    def watch_fleet(
        self, request: fleet_watch_pb2.WatchFleetRequest
    ) -> Iterator[fleet_watch_pb2.WatchFleetResponse]:
        """The fleet as it is, then what becomes otherwise, for as long as it is asked."""
        with self._translated():
            yield from self._stub.WatchFleet(request, metadata=self._metadata)

    def set_schedule(self, request: messages.SetScheduleRequest) -> messages.FleetSchedule:
        """As it is kept, with the machines that it is for now."""
        with self._translated():
            # A condition is evaluated before it is answered.
            answer = self._stub.SetSchedule(request, timeout=2 * self._timeout, metadata=self._metadata)
        return answer.schedule

    def remove_schedule(self, name: str) -> messages.FleetSchedule:
        """As it was kept."""
        request = messages.RemoveScheduleRequest(name=name)
        with self._translated():
            answer = self._stub.RemoveSchedule(request, timeout=2 * self._timeout, metadata=self._metadata)
        return answer.schedule

    def schedules(self, *, name: str) -> list[messages.FleetSchedule]:
        """By name; the one of this name, or all where it is empty."""
        request = messages.ListSchedulesRequest(name=name)
        with self._translated():
            answer = self._stub.ListSchedules(request, timeout=self._timeout, metadata=self._metadata)
        return list(answer.schedules)

    def acknowledge(self, request: messages.AcknowledgeFindingRequest) -> messages.AcknowledgeFindingResponse:
        """The note as it was stored, and the machines that it covers now."""
        with self._translated():
            return self._stub.AcknowledgeFinding(request, timeout=self._timeout, metadata=self._metadata)

    def withdraw(self, acknowledgement_id: str) -> messages.KnownFailure:
        """By its id or a unique prefix."""
        request = messages.WithdrawAcknowledgementRequest(acknowledgement_id=acknowledgement_id)
        with self._translated():
            answer = self._stub.WithdrawAcknowledgement(
                request, timeout=self._timeout, metadata=self._metadata
            )
        return answer.known_failure

    def acknowledgements(self, *, limit: int) -> messages.ListAcknowledgementsResponse:
        """Newest first."""
        request = messages.ListAcknowledgementsRequest(limit=limit)
        with self._translated():
            return self._stub.ListAcknowledgements(request, timeout=self._timeout, metadata=self._metadata)

    def import_measurements(
        self, asked: messages.ImportMeasurementsRequest, content: bytes
    ) -> messages.ImportMeasurementsResponse:
        """`asked` says what the file is; its content goes in parts."""
        starts = range(0, max(len(content), 1), IMPORT_PART)
        parts = (
            messages.ImportMeasurementsRequest(content=content[start : start + IMPORT_PART])
            for start in starts
        )
        with self._translated():
            # Twice the patience: a large file takes its time to be sent and to be stored.
            return self._stub.ImportMeasurements(
                itertools.chain([asked], parts), timeout=2 * self._timeout, metadata=self._metadata
            )

    def imports(self, *, limit: int) -> messages.ListImportsResponse:
        """Newest first."""
        request = messages.ListImportsRequest(limit=limit)
        with self._translated():
            return self._stub.ListImports(request, timeout=self._timeout, metadata=self._metadata)

    def withdraw_import(self, import_id: str) -> messages.ImportedFile:
        """By its id or a unique prefix."""
        request = messages.WithdrawImportRequest(import_id=import_id)
        with self._translated():
            answer = self._stub.WithdrawImport(request, timeout=self._timeout, metadata=self._metadata)
        return answer.imported

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise translated(error, address=self._address) from error
        self._has_answered = True


def translated(error: grpc.RpcError, *, address: str) -> CliError:
    """The error of llmenv that says the same."""
    code, details = error.code(), (error.details() or "no reason given").rstrip(".")
    if code is grpc.StatusCode.UNAVAILABLE and any(words in details.lower() for words in UNTRUSTED):
        return RefusedError(
            f"What answers at {address} is not the collector that you logged in to: `llmenv login` again."
        )
    if code is grpc.StatusCode.UNAVAILABLE:
        return UnreachableError(f"No collector answers at {address}: {_cause(details)}.")
    kind, sentence = SENTENCES.get(code, (UnreachableError, FAILED))
    return kind(sentence.format(address=address, details=details, code=code.name))


def _cause(details: str) -> str:
    """The last clause of gRPC's chain of causes, such as "Connection refused (111)"."""
    return details.rpartition(": ")[2]
