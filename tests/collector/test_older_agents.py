"""Agents of earlier versions: what was recorded of each is said again to today's collector."""

from __future__ import annotations

import datetime as dt
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf import proto
from llmenv.fleet.v1.agent_service_pb2 import ConnectRequest
from llmenv.fleet.v1.record_pb2 import Record
from llmenv_collector.identity.authority import Authority
from llmenv_collector.identity.identity_file import Identity
from llmenv_collector.storage.data_folder import DataFolder

from .conftest import (
    PATIENCE_SECONDS,
    AgentStream,
    EnrolledMachine,
    RunningCollector,
    key_pem,
    signing_request,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

RECORDED = sorted((Path(__file__).parent / "recorded_agents").glob("*.bin"))


def streams_of(recording: Path) -> Iterator[list[ConnectRequest]]:
    """Each from its Hello on."""
    stream: list[ConnectRequest] = []
    with recording.open("rb") as file:
        while request := proto.parse_length_prefixed(ConnectRequest, file):
            if request.HasField("hello") and stream:
                yield stream
                stream = []
            stream.append(request)
    yield stream


def admitted(collector: RunningCollector, machine_id: str) -> EnrolledMachine:
    """The recorded machine, with a certificate of this collector."""
    folder, key = DataFolder(collector.folder), ec.generate_private_key(ec.SECP256R1())
    certificate = Authority.load(folder).sign_machine(
        signing_request(key), machine_id=machine_id, lifetime=dt.timedelta(days=1)
    )
    with Identity(folder.identity).changes() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO machine (machine_id, hostname, enrolled_at, approved_at)"
            " VALUES (?, 'studio', 1, 1)",
            (machine_id,),
        )
    return EnrolledMachine(collector, machine_id, key_pem(key), certificate.pem)


@pytest.mark.parametrize("recording", RECORDED, ids=lambda path: path.stem)
def test_a_recorded_agent_is_understood(own_collector: RunningCollector, recording: Path) -> None:
    """Every record is acknowledged, none is refused, and its run can be asked for."""
    spoken = list(streams_of(recording))
    sent = [spooled for stream in spoken for request in stream for spooled in request.records.records]
    machine = admitted(own_collector, spoken[0][0].hello.machine_id)
    watermark = 0
    for requests in spoken:
        stream = AgentStream(machine)
        for request in requests:
            stream.outgoing.put(request)
        stream.outgoing.put(None)
        while (response := stream.incoming.get(timeout=PATIENCE_SECONDS)) is not None:
            assert not isinstance(response, Exception), response
            assert response.WhichOneof("message") != "rejected", response
            watermark = max(watermark, response.acknowledged.watermark)
        stream.channel.close()
    assert watermark == max(spooled.sequence for spooled in sent)
    own_collector.stop()
    runs = {Record.FromString(one.record).run_started.run.run_id for one in sent} - {""}
    with closing(own_collector.database()) as database:
        assert database.sql("SELECT count(*) FROM store.record").fetchall() == [(watermark,)]
        assert database.sql("SELECT run_id::VARCHAR, outcome FROM v1.runs").fetchall() == [
            (run_id, "completed") for run_id in sorted(runs)
        ]
        assert database.sql("SELECT count(*) FROM v1.results WHERE reason = ''").fetchall() == [(0,)]


def test_there_is_a_recording_of_this_minor_version() -> None:
    """`record.py` makes one; a release without would leave the next one untested against it."""
    import importlib.metadata

    major, minor, *_ = importlib.metadata.version("llmenv").split(".")
    assert [path.name for path in RECORDED if path.name.startswith(f"agent-{major}.{minor}.")] != []
