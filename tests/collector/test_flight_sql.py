"""Flight SQL as standard drivers speak it: the ADBC driver, pyarrow's client, pandas, polars and DuckDB."""

from __future__ import annotations

import asyncio
import datetime as dt
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import duckdb
import grpc
import polars as pl
import pyarrow as pa
import pyarrow.flight as pa_flight
import pytest
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_flightsql import dbapi as flightsql
from google.protobuf.any_pb2 import Any as AnyMessage
from llmenv.arrow_flight import flight_service_pb2 as flight
from llmenv.arrow_flight import flight_sql_pb2 as sql
from llmenv.arrow_flight.flight_service_pb2_grpc import FlightServiceStub
from llmenv_collector.errors import UsageError
from llmenv_collector.flight.servicer import limited
from llmenv_collector.storage import migrate

from .conftest import wait_until
from .test_sql import workers_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from .conftest import RunningCollector

VIEWS = sorted(name.removesuffix(".sql") for name, _ in migrate.view_files())
ENDLESS = (
    "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE (a.range ^ b.range) % 7 = sin(a.range)"
)


@contextmanager
def connected(collector: RunningCollector, **options: str) -> Iterator[Any]:
    """A connection as an analyst makes one."""
    given = {
        DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {collector.admin_secret}",
        DatabaseOptions.TLS_ROOT_CERTS.value: collector.ca.decode(),
        **options,
    }
    with closing(
        flightsql.connect(f"grpc+tls://{collector.people_address}", db_kwargs=given, autocommit=True)
    ) as connection:
        yield connection


def fetched(collector: RunningCollector, query: str, parameters: Any = None) -> pa.Table:
    with connected(collector) as connection, connection.cursor() as cursor:
        cursor.execute(query, parameters)
        return cursor.fetch_arrow_table()


def refusal(collector: RunningCollector, query: str, parameters: Any = None) -> str:
    with pytest.raises(Exception, match=r"InvalidArgument|ResourceExhausted") as refused:
        fetched(collector, query, parameters)
    return str(refused.value)


@contextmanager
def arrow_client(collector: RunningCollector) -> Iterator[tuple[Any, Any]]:
    """Pyarrow's client, and options with a token that a handshake gave."""
    with pa_flight.FlightClient(
        f"grpc+tls://{collector.people_address}", tls_root_certs=collector.ca
    ) as client:
        header = client.authenticate_basic_token("anybody", collector.admin_secret)
        yield client, pa_flight.FlightCallOptions(headers=[header])


def packed(message: Any) -> bytes:
    whole = AnyMessage()
    whole.Pack(message)
    return whole.SerializeToString()


def descriptor(message: Any) -> Any:
    return pa_flight.FlightDescriptor.for_command(packed(message))


def command(collector: RunningCollector, message: Any) -> tuple[pa.Table, Any]:
    """Its answer, which has the schema that was announced, and its FlightInfo."""
    with arrow_client(collector) as (client, options):
        info = client.get_flight_info(descriptor(message), options)
        table = client.do_get(info.endpoints[0].ticket, options).read_all()
    assert table.schema.equals(info.schema)
    return table, info


@contextmanager
def stub(collector: RunningCollector, secret: str | None = None) -> Iterator[tuple[Any, Any]]:
    with collector.people_channel() as channel:
        metadata = [("authorization", f"Bearer {secret or collector.admin_secret}")]
        yield FlightServiceStub(channel), metadata


def test_a_driver_reads_types_as_they_are(collector: RunningCollector) -> None:
    """Nothing is lost between DuckDB and Arrow; an ENUM comes as its text."""
    table = fetched(
        collector,
        "SELECT 1::TINYINT a, 2.5 b, 'é' c, true d, TIMESTAMPTZ '2026-03-01 12:00:00Z' e, NULL::DATE f,"
        " [1, 2] g, {'x': 'y'::ENUM('y')} h, 'y'::ENUM('y') i, '\\xAA'::BLOB j",
    )
    (row,) = table.to_pylist()
    assert row["e"].astimezone(dt.UTC) == dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
    assert {**row, "e": None, "b": float(row["b"])} == {
        "a": 1,
        "b": 2.5,
        "c": "é",
        "d": True,
        "e": None,
        "f": None,
        "g": [1, 2],
        "h": {"x": "y"},
        "i": "y",
        "j": b"\xaa",
    }


def test_the_answer_says_when_its_snapshot_was_taken(collector: RunningCollector) -> None:
    """In the metadata of its schema, and of its FlightInfo."""
    before = dt.datetime.now(dt.UTC)
    table, info = command(collector, sql.CommandStatementQuery(query="SELECT 1 AS one"))
    taken_at = dt.datetime.fromisoformat(table.schema.metadata[b"llmenv.snapshot_at"].decode())
    assert abs(taken_at - before) < dt.timedelta(minutes=10)
    assert taken_at.isoformat() in info.app_metadata.decode()


def test_every_view_is_read_by_pandas_polars_and_duckdb(collector: RunningCollector) -> None:
    """With their columns, also when they have no row."""
    with connected(collector) as connection:
        for view in VIEWS:
            with connection.cursor() as cursor:
                cursor.execute(f"SELECT * FROM {view}")
                frame = cursor.fetch_df()
            polars_frame = pl.read_database(f"SELECT * FROM v1.{view}", connection)
            assert list(frame.columns) == polars_frame.columns, view
        with connection.cursor() as cursor:
            cursor.execute("SELECT range AS n FROM range(100000)")
            duckdb.register("numbers", cursor.fetch_record_batch())
            assert duckdb.sql("SELECT sum(n) FROM numbers").fetchall() == [(4_999_950_000,)]


def test_parameters_are_bound(collector: RunningCollector) -> None:
    """By place, more than once with one preparation, with types that text alone could not tell apart."""
    query = "SELECT ? + 1 AS a, ? AS b, ?::DATE + 1 AS c"
    with connected(collector) as connection, connection.cursor() as cursor:
        for number, text in ((1, "it's"), (2, "x; DROP VIEW runs")):
            cursor.execute(query, (number, text, dt.date(2026, 2, 28)))
            assert cursor.fetchone() == (number + 1, text, dt.date(2026, 3, 1))
    assert "One row of parameters is wanted; there are 2" in refusal(
        collector, "SELECT ?", pa.table({"a": [1, 2]})
    )
    assert "Parameters 1 are wanted; a, b were given" in refusal(
        collector, "SELECT ?", pa.table({"a": [1], "b": [1]})
    )
    assert "Values were not provided" in refusal(collector, "SELECT ? + ?")


def test_named_parameters_are_bound_by_name(collector: RunningCollector) -> None:
    table = fetched(collector, "SELECT $b - $a AS n", pa.table({"b": [5], "a": [3]}))
    assert table.to_pylist() == [{"n": 2}]


def test_a_prepared_statement_describes_itself_and_is_closed(collector: RunningCollector) -> None:
    """Parameters and columns are known before it runs; after it is closed it is not known any more."""
    with connected(collector) as connection, connection.cursor() as cursor:
        schema = cursor.adbc_prepare("SELECT run_id, ? AS note FROM runs WHERE hostname = ?")
        assert schema.names == ["1", "2"]
    with stub(collector) as (service, metadata):

        def act(name: str, message: Any) -> list[Any]:
            action = flight.Action(type=name, body=packed(message))
            return list(service.DoAction(action, metadata=metadata))

        create = sql.ActionCreatePreparedStatementRequest(query="SELECT 1 AS one")
        (answer,) = act("CreatePreparedStatement", create)
        created = sql.ActionCreatePreparedStatementResult()
        assert AnyMessage.FromString(answer.body).Unpack(created)
        handle = created.prepared_statement_handle
        asked = packed(sql.CommandPreparedStatementQuery(prepared_statement_handle=handle))
        wanted = flight.FlightDescriptor(type=flight.FlightDescriptor.CMD, cmd=asked)
        assert service.GetFlightInfo(wanted, metadata=metadata).endpoint
        act(
            "ClosePreparedStatement",
            sql.ActionClosePreparedStatementRequest(prepared_statement_handle=handle),
        )
        with pytest.raises(grpc.RpcError) as refused:
            service.GetFlightInfo(wanted, metadata=metadata)
        assert refused.value.code() == grpc.StatusCode.NOT_FOUND


def test_the_catalog_lists_the_views(collector: RunningCollector) -> None:
    """With the columns that a SELECT gives, and each column's comment."""
    with connected(collector) as connection:
        (found,) = connection.adbc_get_objects(depth="columns").read_all().to_pylist()
        (schema,) = found["catalog_db_schemas"]
        assert (found["catalog_name"], schema["db_schema_name"]) == ("llmenv", "v1")
        assert sorted(table["table_name"] for table in schema["db_schema_tables"]) == VIEWS
        assert connection.adbc_get_table_types() == ["VIEW"]
        runs = connection.adbc_get_table_schema("runs", db_schema_filter="v1")
        assert runs.names == fetched(collector, "SELECT * FROM runs").column_names
        assert connection.adbc_get_info()["vendor_name"] == "llmenv-collector"
    comment = runs.field("run_id").metadata[b"ARROW:FLIGHT:SQL:REMARKS"].decode()
    ((stored,),) = (
        fetched(
            collector,
            "SELECT comment FROM duckdb_columns() WHERE table_name = 'runs' AND column_name = 'run_id'",
        )
        .to_pydict()
        .values()
    )
    assert comment == stored


@pytest.mark.parametrize(
    ("message", "rows"),
    [
        pytest.param(sql.CommandGetCatalogs(), 1, id="catalogs"),
        pytest.param(sql.CommandGetDbSchemas(), 1, id="schemas"),
        pytest.param(sql.CommandGetDbSchemas(catalog="other"), 0, id="schemas of none"),
        pytest.param(sql.CommandGetDbSchemas(db_schema_filter_pattern="v_"), 1, id="schemas like v_"),
        pytest.param(sql.CommandGetTables(), len(VIEWS), id="tables"),
        pytest.param(sql.CommandGetTables(include_schema=True), len(VIEWS), id="tables with columns"),
        pytest.param(sql.CommandGetTables(table_name_filter_pattern="run%"), 1, id="tables like run%"),
        pytest.param(sql.CommandGetTables(table_types=["TABLE"]), 0, id="tables that are no views"),
        pytest.param(sql.CommandGetTableTypes(), 1, id="table types"),
        pytest.param(sql.CommandGetPrimaryKeys(table="runs"), 0, id="primary keys"),
        pytest.param(sql.CommandGetExportedKeys(table="runs"), 0, id="exported keys"),
        pytest.param(sql.CommandGetImportedKeys(table="runs"), 0, id="imported keys"),
        pytest.param(sql.CommandGetCrossReference(pk_table="a", fk_table="b"), 0, id="cross reference"),
        pytest.param(sql.CommandGetXdbcTypeInfo(), 10, id="types"),
        pytest.param(sql.CommandGetXdbcTypeInfo(data_type=sql.XDBC_DATE), 1, id="one type"),
        pytest.param(sql.CommandGetSqlInfo(info=[sql.FLIGHT_SQL_SERVER_READ_ONLY]), 1, id="one ability"),
        pytest.param(sql.CommandGetSqlInfo(info=[9_999]), 0, id="an ability that nobody knows"),
    ],
)
def test_what_a_tool_asks_first_has_an_answer(collector: RunningCollector, message: Any, rows: int) -> None:
    """In the schema that Flight SQL writes down."""
    assert command(collector, message)[0].num_rows == rows


def test_abilities_are_typed_as_the_protocol_has_them(collector: RunningCollector) -> None:
    table = command(collector, sql.CommandGetSqlInfo())[0]
    found = dict(zip(table.column("info_name").to_pylist(), table.column("value").to_pylist(), strict=True))
    assert found[sql.FLIGHT_SQL_SERVER_NAME] == "llmenv-collector"
    assert found[sql.FLIGHT_SQL_SERVER_READ_ONLY] is True
    assert found[sql.FLIGHT_SQL_SERVER_TRANSACTION] == sql.SQL_SUPPORTED_TRANSACTION_NONE


def test_a_schema_is_told_without_running(collector: RunningCollector) -> None:
    with arrow_client(collector) as (client, options):
        wanted = descriptor(
            sql.CommandStatementQuery(query="SELECT 1::BIGINT AS n FROM range(1000000000000)")
        )
        assert client.get_schema(wanted, options).schema.equals(pa.schema([("n", pa.int64())]))


def test_an_answer_streams_and_is_not_held(collector: RunningCollector) -> None:
    """Its first rows come while it is computed, and the collector's memory does not grow with it."""
    with connected(collector) as connection, connection.cursor() as cursor:
        before = resident_bytes(collector)
        cursor.execute("SELECT range AS n, repeat('x', 500) AS text FROM range(400000)")
        size = sum(batch.nbytes for batch in cursor.fetch_record_batch())
    assert size > 200_000_000
    assert resident_bytes(collector) - before < 100_000_000


def resident_bytes(collector: RunningCollector) -> int:
    with open(f"/proc/{collector.process.pid}/status") as status:  # noqa: PTH123 (no file of ours)
        return next(int(line.split()[1]) * 1_024 for line in status if line.startswith("VmRSS:"))


def test_an_answer_that_is_cut_is_an_error_unless_it_was_asked_for(collector: RunningCollector) -> None:
    """No driver shows a mark; who names a number of rows gets so many."""
    assert "more than the 1,000,000 rows" in refusal(collector, "SELECT * FROM range(1000001)")
    options = {"adbc.flight.sql.rpc.call_header.llmenv-max-rows": "7"}
    with connected(collector, **options) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT * FROM range(1000001)")
        assert cursor.fetch_arrow_table().num_rows == 7


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("SELECT nonsense FROM runs", "nonsense"),
        ("SELECT * FROM read_text('/etc/passwd')", "may not be asked"),
        ("INSERT INTO store.record SELECT 1", "Only a SELECT"),
        ("SELECT 1; SELECT 2", "there are 2 statements"),
        ("SELECT 10 // (range - 3) FROM range(5)", "Division by zero"),
    ],
)
def test_a_statement_that_cannot_be_asked_says_why(
    collector: RunningCollector, query: str, words: str
) -> None:
    assert words in refusal(collector, query)


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(sql.CommandStatementUpdate(query="DROP VIEW runs"), id="update"),
        pytest.param(sql.CommandPreparedStatementUpdate(), id="prepared update"),
        pytest.param(sql.CommandStatementIngest(table="mine"), id="ingest"),
        pytest.param(sql.CommandStatementQuery(query="SELECT 1"), id="query"),
    ],
)
def test_nothing_can_be_written(collector: RunningCollector, message: Any) -> None:
    """Rows are refused before any is read, and the sentence says why."""
    wanted = flight.FlightDescriptor(type=flight.FlightDescriptor.CMD, cmd=packed(message))
    with stub(collector) as (service, metadata), pytest.raises(grpc.RpcError) as refused:
        list(service.DoPut(iter([flight.FlightData(flight_descriptor=wanted)]), metadata=metadata))
    assert "read-only" in refused.value.details()


@pytest.mark.parametrize(
    ("message", "count"),
    [
        pytest.param(flight.FlightData(app_metadata=bytes(600_000)), 2, id="metadata"),
        pytest.param(
            flight.FlightData(flight_descriptor=flight.FlightDescriptor(cmd=bytes(600_000))), 2, id="commands"
        ),
        pytest.param(flight.FlightData(data_body=bytes(600_000)), 2, id="rows"),
        pytest.param(flight.FlightData(), 2_000, id="nothing, often"),
    ],
)
def test_what_is_kept_of_one_call_is_bounded(message: Any, count: int) -> None:
    """Whatever part of its messages is large, and however many there are."""

    async def received(count: int) -> int:
        async def sent() -> AsyncIterator[Any]:
            for _ in range(count):
                yield message

        return len([one async for one in limited(sent())])

    assert asyncio.run(received(1)) == 1
    with pytest.raises(UsageError, match="Parameters may have"):
        asyncio.run(received(count))


def test_cancelling_ends_the_process_and_the_call(collector: RunningCollector) -> None:
    """By the driver, which leaves, and by an action, which says that it did; another one's is left alone."""
    with connected(collector) as connection, connection.cursor() as cursor:
        failures: list[BaseException] = []
        asking = threading.Thread(target=lambda: failures.append(failing(cursor)))
        asking.start()
        wait_until(lambda: workers_of(collector.process.pid))
        cursor.adbc_cancel()
        asking.join(timeout=300)
        assert "ancel" in str(failures[0])
        wait_until(lambda: not workers_of(collector.process.pid))


def failing(cursor: Any) -> BaseException:
    def ask() -> None:
        cursor.execute(ENDLESS)
        cursor.fetchall()

    with pytest.raises(Exception, match="ancel") as ended:
        ask()
    return ended.value


def test_an_action_cancels_what_is_under_way(collector: RunningCollector) -> None:
    """Its own asker's, once; whoever fetches it is told."""
    other = collector.secret("--role", "analyst")
    query = "SELECT range AS n, repeat('x', 1000) AS text FROM range(1000000)"
    wanted = flight.FlightDescriptor(
        type=flight.FlightDescriptor.CMD, cmd=packed(sql.CommandStatementQuery(query=query))
    )
    with stub(collector) as (service, metadata):
        info = service.GetFlightInfo(wanted, metadata=metadata)
        rows = service.DoGet(info.endpoint[0].ticket, metadata=metadata)
        next(rows)
        action = flight.Action(
            type="CancelFlightInfo", body=flight.CancelFlightInfoRequest(info=info).SerializeToString()
        )

        def cancel(token: str) -> Any:
            (result,) = service.DoAction(action, metadata=[("authorization", f"Bearer {token}")])
            return flight.CancelFlightInfoResult.FromString(result.body).status

        assert cancel(other) == flight.CANCEL_STATUS_NOT_CANCELLABLE
        assert cancel(collector.admin_secret) == flight.CANCEL_STATUS_CANCELLED
        with pytest.raises(grpc.RpcError) as ended:
            list(rows)
        assert ended.value.code() == grpc.StatusCode.CANCELLED
        assert cancel(collector.admin_secret) == flight.CANCEL_STATUS_NOT_CANCELLABLE


def test_who_may_not_ask_sql_is_refused_in_every_way(collector: RunningCollector) -> None:
    """A viewer, a wrong token, none; at the handshake and without one."""
    viewer = collector.secret("--role", "viewer")
    for secret, code in (
        (viewer, "PERMISSION_DENIED"),
        ("wrong", "UNAUTHENTICATED"),
        (None, "UNAUTHENTICATED"),
    ):
        metadata = [("authorization", f"Bearer {secret}")] if secret else []
        with collector.people_channel() as channel, pytest.raises(grpc.RpcError) as refused:
            FlightServiceStub(channel).GetFlightInfo(flight.FlightDescriptor(), metadata=metadata)
        assert refused.value.code().name == code
    for secret in (viewer, "wrong"):
        with (
            pa_flight.FlightClient(
                f"grpc+tls://{collector.people_address}", tls_root_certs=collector.ca
            ) as client,
            pytest.raises(pa.ArrowException, match="token"),
        ):
            client.authenticate_basic_token("anybody", secret)


def ticket(handle: bytes) -> bytes:
    return flight.Ticket(ticket=packed(sql.TicketStatementQuery(statement_handle=handle))).SerializeToString()


@pytest.mark.parametrize(
    ("method", "request_bytes"),
    [
        pytest.param("GetFlightInfo", b"", id="no command"),
        pytest.param(
            "GetFlightInfo", flight.FlightDescriptor(cmd=b"\xff\xfe").SerializeToString(), id="garbage"
        ),
        pytest.param("GetFlightInfo", b"\xff\xff\xff", id="no message"),
        pytest.param("DoGet", flight.Ticket(ticket=b"\x00").SerializeToString(), id="a ticket of nobody"),
        pytest.param("DoGet", ticket(rb'["x", "\ud800", "", 0]'), id="a ticket of no text"),
        pytest.param("DoGet", ticket(b'["x", "SELECT 1", "", Infinity]'), id="a ticket for infinitely many"),
        pytest.param("DoAction", flight.Action(type="Explode").SerializeToString(), id="no such action"),
        pytest.param(
            "DoAction",
            flight.Action(type="CancelFlightInfo", body=b"\xff").SerializeToString(),
            id="no flight",
        ),
    ],
)
def test_garbage_is_answered_with_one_sentence(
    collector: RunningCollector, method: str, request_bytes: bytes
) -> None:
    """INVALID_ARGUMENT, never a traceback."""
    metadata = [("authorization", f"Bearer {collector.admin_secret}")]
    with collector.people_channel() as channel:
        kind = channel.unary_unary if method == "GetFlightInfo" else channel.unary_stream
        call = kind(f"/arrow.flight.protocol.FlightService/{method}")
        with pytest.raises(grpc.RpcError) as refused:
            list(call(request_bytes, metadata=metadata, timeout=120))
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details().endswith(".")
