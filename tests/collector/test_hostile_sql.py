"""Hostile statements: each ends in one clear sentence or with its process, and nobody else notices."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from llmenv.arrow_flight.flight_service_pb2 import FlightDescriptor
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv_collector.snapshots.snapshot import NAME
from llmenv_collector.sql.statements import MAX_STATEMENT_BYTES
from llmenv_collector.storage.store import Store

from . import hostile_statements
from .conftest import wait_until
from .test_flight_sql import ENDLESS, resident_bytes
from .test_sql import workers_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .conftest import RunningCollector

RUN = Path(__file__).with_name("hostile_run.py")
MEMORY_BYTES = 300_000_000
NEVER_SECONDS = 300


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("snapshot") / NAME
    Store(path).close()
    return path


def outcomes(
    database: Path, statements: Sequence[str], *, seconds: int = NEVER_SECONDS, is_condition: bool = False
) -> list[dict[str, Any]]:
    requests = [
        {
            "snapshot": str(database),
            "sql": sql,
            "parameters": [],
            "arrow_parameters": "",
            "max_rows": 1_000_000,
            "memory_bytes": MEMORY_BYTES,
            "seconds": seconds,
            "form": "stream",
            "describes": False,
            "is_condition": is_condition,
            "metadata": {},
        }
        for sql in statements
    ]
    done = subprocess.run(
        [sys.executable, RUN], input=json.dumps(requests), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_list_is_long_enough() -> None:
    """What a lab's collector has to stand is written down."""
    kinds = [*hostile_statements.REFUSED.values(), *hostile_statements.ENDED.values()]
    every = [sql for kind in kinds for sql in kind]
    assert len(every) == len(set(every)) >= 150


@pytest.mark.parametrize("kind", hostile_statements.REFUSED)
def test_a_hostile_statement_gets_one_sentence(database: Path, kind: str) -> None:
    """No rows, no path of the collector's, and a text that a person can read."""
    statements = [sql for sql in hostile_statements.REFUSED[kind] if len(sql.encode()) <= MAX_STATEMENT_BYTES]
    ends = outcomes(database, statements)
    for sql, end in zip(statements, ends, strict=True):
        told = end.get("error") or end.get("died") or end.get("limit")
        assert told, (sql[:200], end)
        assert "\n" not in told, (sql[:200], told)
        assert len(told) < 700, sql[:200]
        assert str(database.parent) not in told, (sql[:200], told)
        assert "Traceback" not in told, sql[:200]


def test_what_needs_too_much_memory_ends(database: Path) -> None:
    for sql, end in zip(lines := hostile_statements.ENDED["memory"], outcomes(database, lines), strict=True):
        assert end.get("limit") == "memory" or "of memory" in end.get("died", ""), (sql, end)


def test_what_never_ends_is_ended(database: Path) -> None:
    for sql, end in zip(
        lines := hostile_statements.ENDED["time"], outcomes(database, lines, seconds=1), strict=True
    ):
        assert "longer than 1 s" in end.get("died", ""), (sql, end)


@pytest.mark.parametrize(
    "path", ["/llmenv.fleet.v1.FleetService/Query", "/arrow.flight.protocol.FlightService/GetFlightInfo"]
)
def test_text_that_is_no_utf8_is_refused(collector: RunningCollector, path: str) -> None:
    """Whatever wraps it: INVALID_ARGUMENT and one sentence."""
    statement = b"SELECT '\xff\xfe\x80'"
    request = b"\x0a" + bytes([len(statement)]) + statement
    if "Flight" in path:
        packed = AnyMessage(
            type_url="type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery", value=request
        )
        request = FlightDescriptor(cmd=packed.SerializeToString()).SerializeToString()
    metadata = [("authorization", f"Bearer {collector.admin_secret}")]
    with collector.people_channel() as channel:
        call = (channel.unary_unary if "Flight" in path else channel.unary_stream)(path)
        with pytest.raises(grpc.RpcError) as refused:
            list(call(request, metadata=metadata))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "is not a message" in refused.value.details()


def test_nobody_else_notices(collector: RunningCollector) -> None:
    """While one analyst's statements take all they may, another's is answered, and records are stored."""
    greedy, other = (collector.secret("--role", "analyst") for _ in range(2))
    machine = collector.enrol()
    stream = machine.connect(new_id())
    with collector.people_channel() as channel:
        ask(channel, other, "SELECT 1")
        before = resident_bytes(collector)
        calls = [ask_later(channel, greedy, ENDLESS) for _ in range(4)]
        wait_until(lambda: len(workers_of(collector.process.pid)) == 2)
        for number in range(1, 11):
            stream.deliver([machine.check_started()], first=number)
            assert stream.receive("acknowledged").watermark == number
        assert ask(channel, other, "SELECT 1")
        for call in calls:
            call.cancel()
    stream.close()
    assert resident_bytes(collector) - before < 100_000_000


def ask_later(channel: grpc.Channel, secret: str, sql: str) -> Any:
    return FleetServiceStub(channel).Query(
        fleet.QueryRequest(sql=sql), metadata=[("authorization", f"Bearer {secret}")]
    )


def ask(channel: grpc.Channel, secret: str, sql: str) -> list[Any]:
    return list(ask_later(channel, secret, sql))
