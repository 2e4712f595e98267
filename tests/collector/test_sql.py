"""SQL written by people: what it may do, and what becomes of a hostile statement."""

from __future__ import annotations

import contextlib
import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pyarrow as pa
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from llmenv.fleet.v1 import fleet_service_pb2 as fleet
from llmenv.fleet.v1.fleet_service_pb2_grpc import FleetServiceStub
from llmenv.ids import new_id
from llmenv_collector.storage import migrate

from .conftest import RunningCollector, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


def ask(collector: RunningCollector, sql: str, **options: Any) -> tuple[pa.Table, list[fleet.QueryResponse]]:
    metadata = [("authorization", f"Bearer {collector.admin_secret}")]
    with collector.people_channel() as channel:
        parts = list(
            FleetServiceStub(channel).Query(fleet.QueryRequest(sql=sql, **options), metadata=metadata)
        )
    return pa.ipc.open_stream(b"".join(part.arrow_ipc for part in parts)).read_all(), parts


def refusal(collector: RunningCollector, sql: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as refused:
        ask(collector, sql, **options)
    return refused.value.code().name, refused.value.details()


def test_an_answer_holds_what_was_acknowledged_just_before(collector: RunningCollector) -> None:
    """A record is in the next snapshot after its acknowledgement."""
    machine, spool_id = collector.enrol(), new_id()
    stream = machine.connect(spool_id)
    for number in (1, 2):
        stream.deliver([machine.check_started()], first=number)
        stream.receive("acknowledged")
    table, parts = ask(collector, f"SELECT count(*) AS stored FROM records WHERE spool_id = '{spool_id}'")
    stream.close()
    assert table.to_pylist() == [{"stored": 2}]
    assert parts[0].HasField("snapshot_at")
    assert (parts[-1].rows, parts[-1].is_truncated) == (1, False)


def test_the_row_cap_is_announced(collector: RunningCollector) -> None:
    """An answer that was cut says so."""
    table, parts = ask(collector, "SELECT * FROM range(100000)", max_rows=40_000)
    assert (table.num_rows, parts[-1].rows, parts[-1].is_truncated) == (40_000, 40_000, True)


def test_an_exact_fit_is_not_truncated(collector: RunningCollector) -> None:
    """As many rows as the cap allows are the whole answer."""
    assert not ask(collector, "SELECT * FROM range(7)", max_rows=7)[1][-1].is_truncated


def value(name: str, **given: Any) -> fleet.QueryParameter:
    return fleet.QueryParameter(name=name, **given)


def test_parameters_are_bound_with_their_types(collector: RunningCollector) -> None:
    """Each kind arrives as what it is, a name is as in the statement, and a ? is named by its place."""
    time = Timestamp(seconds=1_800_000_000)
    sql = "SELECT $a AS a, $b AS b, $c AS c, $d AS d, $e AS e, $f IS NULL AS f; -- every kind"
    given = [
        value("a", text="it's; DROP VIEW runs --"),
        value("b", integer=-(2**63)),
        value("c", number=0.1),
        value("d", boolean=True),
        value("e", time=time),
        value("f"),
    ]
    (row,) = ask(collector, sql, parameters=given)[0].to_pylist()
    bound_time = row.pop("e").replace(tzinfo=dt.UTC)
    assert row == {"a": "it's; DROP VIEW runs --", "b": -(2**63), "c": 0.1, "d": True, "f": True}
    assert bound_time == time.ToDatetime(tzinfo=dt.UTC)
    places = [value("2", integer=3), value("1", text="1")]
    assert ask(
        collector, "SELECT count(*) AS n FROM range(9) WHERE range >= ? AND range < ?", parameters=places
    )[0].to_pylist() == [{"n": 2}]


def test_the_row_cap_holds_with_parameters(collector: RunningCollector) -> None:
    """Of an answer far larger than the memory of its process no more is computed than is sent."""
    sql = "SELECT repeat('x', 100000) || range AS text FROM range(1000000) WHERE range > $least"
    table, parts = ask(collector, sql, max_rows=10, parameters=[value("least", integer=5)])
    assert (table.num_rows, parts[-1].is_truncated) == (10, True)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        pytest.param([], "Values were not provided", id="none"),
        pytest.param([value("n", integer=1), value("m", integer=1)], "excess parameters: m", id="too many"),
        pytest.param([value("n", time=Timestamp(seconds=10**15))], "years 1 to 9999", id="no such time"),
        pytest.param([value("n", text="seven")], "seven", id="no number"),
    ],
)
def test_parameters_that_do_not_fit_are_refused(
    collector: RunningCollector, given: list[fleet.QueryParameter], words: str
) -> None:
    """INVALID_ARGUMENT, and the sentence names what does not fit."""
    code, details = refusal(collector, "SELECT * FROM range(9) WHERE range = $n", parameters=given)
    assert (code, words in details) == ("INVALID_ARGUMENT", True), details


@pytest.mark.parametrize(
    ("sql", "place"),
    [
        pytest.param("SELECT 1,\n  nonsense FROM runs", "(line 2, column 3)", id="no such column"),
        pytest.param(
            "; SELECT 'ö€',\n'ö€', nonsense FROM runs; -- why", "(line 2, column 7)", id="behind letters"
        ),
        pytest.param("SELEC 1", "(line 1, column 1)", id="no word of SQL"),
        pytest.param("SELECT *\nFROM run", "(line 2, column 6)", id="no such view"),
    ],
)
def test_a_refusal_says_at_what_place(collector: RunningCollector, sql: str, place: str) -> None:
    """Line and column of what DuckDB did not understand, in characters of the text that was sent."""
    assert refusal(collector, sql)[1].endswith(place)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT range(1000000000)",
        "SELECT list(a.range || b.range) FROM range(100000) a, range(100000) b",
        "SELECT repeat('x', 900000000) || repeat('y', 900000000)",
    ],
)
def test_memory_is_bounded(collector: RunningCollector, sql: str) -> None:
    """A statement that needs more than it may have ends; the collector does not."""
    assert refusal(collector, sql)[0] == "RESOURCE_EXHAUSTED"
    assert ask(collector, "SELECT 1")[0].num_rows == 1


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCollector]:
    """A collector whose statements get four seconds; what is no subject of time gets more than any needs."""
    running = RunningCollector(tmp_path_factory.mktemp("impatient") / "data", "--sql-seconds", "4")
    yield running
    running.stop()


@pytest.mark.parametrize(
    "sql",
    [
        "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT 1 FROM r) SELECT count(*) FROM r",
        "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * 3 = b.range * 7 + 1",
    ],
)
def test_time_is_bounded(impatient: RunningCollector, sql: str) -> None:
    """A statement without end is ended, and says so."""
    code, details = refusal(impatient, sql)
    assert code == "RESOURCE_EXHAUSTED"
    assert "longer than 4 s" in details or "memory" in details


def test_a_worker_ends_with_its_asker(collector: RunningCollector) -> None:
    """Cancelling the call ends the process that answers it."""
    metadata = [("authorization", f"Bearer {collector.admin_secret}")]
    sql = "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * 3 = b.range * 7 + 1"
    with collector.people_channel() as channel:
        call = FleetServiceStub(channel).Query(fleet.QueryRequest(sql=sql), metadata=metadata)
        next(call)
        wait_until(lambda: workers_of(collector.process.pid))
        call.cancel()
        wait_until(lambda: not workers_of(collector.process.pid))


def workers_of(pid: int) -> list[str]:
    """Those that read a snapshot; another one waits to be asked."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [child for child in children if any(".duckdb" in path for path in open_files(child))]


def open_files(pid: str) -> list[str]:
    found = []
    with contextlib.suppress(OSError):  # it ends meanwhile
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found.append(str(link.readlink()))
    return found


def test_every_view_and_column_is_commented(collector: RunningCollector) -> None:
    """Analysts see what each column means, and no column without it."""
    query = """
        SELECT table_name, column_name, comment FROM duckdb_columns() WHERE schema_name = 'v1'
    """
    rows = ask(collector, query)[0].to_pylist()
    assert {name.removesuffix(".sql") for name, _ in migrate.view_files()} == {
        row["table_name"] for row in rows
    }
    assert [row for row in rows if not row["comment"]] == []


@pytest.mark.parametrize("name", [name.removesuffix(".sql") for name, _ in migrate.view_files()])
def test_every_view_answers(collector: RunningCollector, name: str) -> None:
    """SELECT * works on each view."""
    assert re.fullmatch(r"[a-z_]+", name)
    assert ask(collector, f"SELECT * FROM {name}")[0].num_columns > 0


def test_a_viewer_may_not_ask_sql(collector: RunningCollector) -> None:
    """SQL is for analysts."""
    token = collector.secret("--role", "viewer")
    with collector.people_channel() as channel, pytest.raises(grpc.RpcError) as refused:
        list(
            FleetServiceStub(channel).Query(
                fleet.QueryRequest(sql="SELECT 1"), metadata=[("authorization", f"Bearer {token}")]
            )
        )
    assert refused.value.code() == grpc.StatusCode.PERMISSION_DENIED
