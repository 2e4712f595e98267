"""llmenv itself: the program, its port for agents with mutual TLS, and Flight SQL for the question.

Agents are streams of the published contract that send what was built before, as other systems' clients do;
like an agent they wait for the watermark, and have no more in flight than one may.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from llmenv import __version__
from llmenv.arrow_flight import flight_sql_pb2
from llmenv.fleet.v1 import agent_service_pb2 as wire
from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id
from llmenv.printed_token import PrintedToken
from llmenv_agent.connection import open_channel
from llmenv_agent.session import MAX_IN_FLIGHT_RECORDS, PROTOCOL_REVISION
from llmenv_agent.simulation.enrolling import enrol_machines
from pyarrow import flight

from systems.runs import ASKED_CHECK, ASKED_NAME
from systems.server import NotMeasuredError, Server, served
from systems.system import Shape

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from llmenv_agent.simulation.enrolling import Enrolled
    from llmenv_agent.simulation.machines import VirtualMachine

    from systems.runs import Answer, Run

PROGRAM = [sys.executable, "-m", "llmenv_collector.main"]
METHOD = "/llmenv.fleet.v1.AgentService/Connect"
BATCH_RECORDS, BATCH_BYTES = 256, 1 << 20
"""Of one message, as an agent makes them of what waits."""
QUESTION = f"""
SELECT chip, package.version AS torch, median(value) AS value
FROM measurements
JOIN results USING (machine_id, result_id)
JOIN runs USING (machine_id, run_id)
JOIN environment_packages AS package USING (environment_id)
WHERE check_name = '{ASKED_CHECK}' AND measurements.name = '{ASKED_NAME}' AND package.name = 'torch'
  AND runs.started_at >= TIMESTAMPTZ '{{since}}'
GROUP BY ALL
"""


class Collector:
    """As it is served, with its default settings."""

    name = "llmenv"
    durability = "fsync of DuckDB's log at each group commit, before the watermark is acknowledged"
    shapes = (Shape.ONE_RUN, Shape.BULK)

    def __init__(self, machines: Sequence[VirtualMachine], *, with_trials: bool = True) -> None:
        self._machines = machines
        self._with_trials = with_trials
        if not with_trials:
            self.name = "llmenv, no trials"

    def version(self) -> str:
        return f"llmenv {__version__}"

    @contextlib.contextmanager
    def serve(self, folder: Path) -> Iterator[RunningCollector]:
        data = folder / "data"
        secret = PrintedToken.parse(called("init", "--data", data)).secret
        ports = ["--listen", "127.0.0.1:0", "--agents-listen", "127.0.0.1:0"]
        with (
            served(*PROGRAM, "serve", "--data", data, *ports, folder=folder) as server,
            asyncio.Runner() as loop,
        ):
            server.wait_until((data / "serving.json").exists, "the collector")
            count = str(len(self._machines))
            tokens = called("token", "create", "--data", data, "--count", count).split()
            enrolled = enrol_machines(self._machines, tokens, folder / "machines")
            agents = Agents(self._machines, enrolled, loop, with_trials=self._with_trials)
            yield RunningCollector(server, agents, Analyst(data, secret), data)


def called(*arguments: str | Path) -> str:
    """What the program prints."""
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=True).stdout


class RunningCollector:
    """See `Running`."""

    def __init__(self, server: Server, agents: Agents, analyst: Analyst, data: Path) -> None:
        self._server, self._agents, self._data = server, agents, data
        self.pids = [server.pid]
        self.ask = analyst.ask

    def prepare(self, histories: Sequence[Sequence[Run]], shape: Shape) -> None:
        self._agents.prepare(histories, shape)

    def ingest(self) -> None:
        self._agents.send()

    def settle(self) -> None:
        self._agents.leave()

    def stored_bytes(self) -> int:
        """After the checkpoint at its end."""
        self._server.end()
        return (self._data / "llmenv.duckdb").stat().st_size


@dataclass(frozen=True)
class Message:
    """A serialised ConnectRequest, and the sequence of its last record."""

    last_sequence: int
    content: bytes


class Agents:
    """All machines of the fleet, each with its stream, in one event loop."""

    def __init__(
        self,
        machines: Sequence[VirtualMachine],
        enrolled: Sequence[Enrolled],
        loop: asyncio.Runner,
        *,
        with_trials: bool,
    ) -> None:
        self._machines, self._enrolled, self._loop = machines, enrolled, loop
        self._content = bytes if with_trials else without_trials
        self._streams: list[Stream] = []
        self._queues: list[list[Message]] = []
        self._in_flight = 0

    def prepare(self, histories: Sequence[Sequence[Run]], shape: Shape) -> None:
        self._in_flight = 1 if shape is Shape.ONE_RUN else MAX_IN_FLIGHT_RECORDS
        self._queues = [
            list(messages(self._recorded(history, drawn.id, each.identity.machine_id), shape))
            for history, drawn, each in zip(histories, self._machines, self._enrolled, strict=True)
        ]
        self._loop.run(self._connect())

    def _recorded(self, history: Sequence[Run], drawn: str, issued: str) -> Iterator[list[bytes]]:
        """The records of each run, with the id that the collector issued: both have one length."""
        for run in history:
            yield [self._content(record.replace(drawn.encode(), issued.encode())) for record in run.records]

    def send(self) -> None:
        self._loop.run(self._send())

    def leave(self) -> None:
        self._loop.run(self._leave())

    async def _connect(self) -> None:
        self._streams = [Stream(each) for each in self._enrolled]
        await asyncio.gather(*(each.be_welcome() for each in self._streams))

    async def _send(self) -> None:
        sending = (
            stream.send(queue, in_flight=self._in_flight)
            for stream, queue in zip(self._streams, self._queues, strict=True)
        )
        await asyncio.gather(*sending)

    async def _leave(self) -> None:
        await asyncio.gather(*(each.leave() for each in self._streams))


def without_trials(content: bytes) -> bytes:
    """The same record; of its measurements the values alone."""
    record = record_pb2.Record.FromString(content)
    if record.HasField("check_finished"):
        result = record.check_finished.result
        for holder in (result, *result.cases):
            for measurement in holder.measurements:
                del measurement.trials[:], measurement.warmups[:]
    return record.SerializeToString()


def messages(runs: Iterable[list[bytes]], shape: Shape) -> Iterator[Message]:
    """With contiguous sequences from 1."""
    batches = runs if shape is Shape.ONE_RUN else packed(record for run in runs for record in run)
    sequence = 0
    for batch in batches:
        spooled = [
            record_pb2.SpooledRecord(sequence=sequence + number, record=record)
            for number, record in enumerate(batch, 1)
        ]
        sequence += len(batch)
        request = wire.ConnectRequest(records=wire.RecordBatch(records=spooled))
        yield Message(sequence, request.SerializeToString())


def packed(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    """As many as one message may have."""
    batch: list[bytes] = []
    size = 0
    for record in records:
        if batch and (len(batch) == BATCH_RECORDS or size + len(record) > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += len(record)
    if batch:
        yield batch


class Stream:
    """Of one machine; create it in the event loop."""

    def __init__(self, enrolled: Enrolled) -> None:
        identity = enrolled.identity
        self._channel = open_channel(identity.agent_addresses[0], identity)
        connect = self._channel.stream_stream(METHOD, response_deserializer=wire.ConnectResponse.FromString)
        self._call = connect()
        self._machine_id = identity.machine_id
        self._watermark = 0

    async def be_welcome(self) -> None:
        hello = wire.Hello(
            machine_id=self._machine_id,
            spool_id=new_id(),
            start_id=new_id(),
            protocol_revision=PROTOCOL_REVISION,
            oldest_protocol_revision=PROTOCOL_REVISION,
        )
        await self._call.write(wire.ConnectRequest(hello=hello).SerializeToString())
        while (await self._heard()).WhichOneof("message") != "welcome":
            pass

    async def send(self, queue: Sequence[Message], *, in_flight: int) -> None:
        """The next once fewer than `in_flight` records wait for the watermark; returns when none does."""
        sent = 0
        for message in queue:
            while sent - self._watermark >= in_flight:
                await self._hear_watermark()
            await self._call.write(message.content)
            sent = message.last_sequence
        while self._watermark < sent:
            await self._hear_watermark()

    async def leave(self) -> None:
        goodbye = wire.ConnectRequest(goodbye=wire.Goodbye(reason="stopping"))
        await self._call.write(goodbye.SerializeToString())
        await self._call.done_writing()
        await self._channel.close(grace=1.0)

    async def _hear_watermark(self) -> None:
        response = await self._heard()
        if response.WhichOneof("message") == "rejected":
            raise NotMeasuredError(f"the collector refused a record: {response.rejected.reason}")
        if response.WhichOneof("message") == "acknowledged":
            self._watermark = response.acknowledged.watermark

    async def _heard(self) -> wire.ConnectResponse:
        """Raises NotMeasuredError where the stream ends."""
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise NotMeasuredError(f"the collector ended a stream: {error.details()}") from error
        if response is grpc.aio.EOF:
            raise NotMeasuredError("the collector ended a stream")
        heard: wire.ConnectResponse = response
        return heard


class Analyst:
    """Asks by Flight SQL, as every tool does."""

    def __init__(self, data: Path, secret: str) -> None:
        address = json.loads((data / "serving.json").read_text())["people_address"]
        self._client = flight.FlightClient(
            f"grpc+tls://{address}", tls_root_certs=(data / "ca.pem").read_bytes()
        )
        header = (b"authorization", f"Bearer {secret}".encode())
        self._options = flight.FlightCallOptions(headers=[header])

    def ask(self, since: dt.datetime) -> Answer:
        packed_query = AnyMessage()
        query = QUESTION.format(since=since.isoformat())
        packed_query.Pack(flight_sql_pb2.CommandStatementQuery(query=query))
        descriptor = flight.FlightDescriptor.for_command(packed_query.SerializeToString())
        info = self._client.get_flight_info(descriptor, self._options)
        table = self._client.do_get(info.endpoints[0].ticket, self._options).read_all()
        return {(row["chip"], row["torch"]): row["value"] for row in table.to_pylist()}
