"""The process in which one statement of a person runs, on a read-only snapshot.

It loads what it needs, waits for a JSON request on stdin, and writes frames to stdout (see arrow_frames), the
last of which says how it ended: {"rows", "is_truncated"}, {"error"} or {"limit"}.
From the request on the operating system bounds it: an alarm whose default action ends the process even inside
C++ code, memory, processor time, and no file or connection may be opened any more.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import os
import resource
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv_collector.sql import condition_rules, process_memory
from llmenv_collector.sql.arrow_frames import (
    MAX_FRAME_BYTES,
    MEMORY_EXIT,
    WANTED_BATCH_BYTES,
    Form,
    FrameWriter,
    Kind,
    plain_schema,
)
from llmenv_collector.sql.people_duckdb import THREADS, connect, refused
from llmenv_collector.sql.statement_rules import RefusedError, only_select

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

BATCH_ROWS, BATCH_ROWS_OF_TEXT = 16_384, 2_048
"""A batch is in memory several times over, and a text may be a whole log."""
VARYING = ("VARCHAR", "BLOB", "BIT", "JSON", "VARIANT", "STRUCT", "MAP", "UNION", "[")
"""In the names of types whose values have no fixed size."""
SPARE_SECONDS = 600
"""A process that nobody has asked anything by then ends."""
STALL_SECONDS = 60.0
"""Whoever takes nothing of an answer for that long has gone."""
PREPARE = "PREPARE asked AS "
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def main() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SPARE_SECONDS)
    load()
    if text := sys.stdin.read():
        serve(json.loads(text))
    # Not by way of DuckDB's threads, which may be at work on rows that nobody wants.
    os._exit(0)


def load() -> None:
    """What takes time and opens files: neither is to be done for a statement."""
    import duckdb
    import pyarrow.compute as pc

    with duckdb.connect(config={"threads": 1}) as connection:
        table = connection.sql("SELECT 'one'::ENUM('one') AS one, now() AS time").to_arrow_reader().read_all()
    pc.cast(table.column("one"), "string").to_pylist()


def serve(request: dict[str, Any]) -> None:
    limit(seconds=request["seconds"], memory_bytes=request["memory_bytes"])
    writer = FrameWriter(sys.stdout.buffer, Form(request["form"]))
    try:
        closing = answer(request, writer)
    except RefusedError as error:
        closing = {"error": str(error)}
    except MemoryError:
        closing = {"limit": "memory"}
    except Exception as error:  # noqa: BLE001 (a statement nobody thought of has an answer as well)
        closing = {"error": f"The statement cannot be answered: {type(error).__name__}: {error}"[:500]}
    writer.write_parts(Kind.END, [json.dumps(closing).encode()])


def limit(*, seconds: int, memory_bytes: int) -> None:
    signal.alarm(seconds)
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    processor_seconds = THREADS * seconds + 1
    resource.setrlimit(resource.RLIMIT_CPU, (processor_seconds, processor_seconds))
    process_memory.end_above(memory_bytes, exit_code=MEMORY_EXIT)
    most = process_memory.mapped_bytes() + memory_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def open_nothing_more() -> None:
    """Whatever DuckDB is made to try: what is open stays so."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))


def answer(request: dict[str, Any], writer: FrameWriter) -> dict[str, Any]:
    with refused():
        connection = connect(
            request["snapshot"], memory_bytes=request["memory_bytes"], lake=request.get("lake")
        )
    # The files of a lake are opened as they are read: there DuckDB alone keeps to them.
    if not request.get("lake"):
        open_nothing_more()
    if not request["is_condition"]:
        return answered(connection, request, writer)
    with condition_rules.without_values():
        with refused():
            condition_rules.require_condition(connection, request["sql"])
        statement = condition_rules.statement_of(request["sql"])
        return answered(connection, {**request, "sql": statement}, writer)


def answered(
    connection: duckdb.DuckDBPyConnection, request: dict[str, Any], writer: FrameWriter
) -> dict[str, Any]:
    sql, max_rows = request["sql"], request["max_rows"]
    with refused(sql):
        statement = only_select(connection, sql)
    # Errors name a place in the text only here, not where a relation is made of it.
    before = sql[: max(0, sql.find(statement.query))]
    with refused(statement.query, before=before, shift=len(PREPARE)):
        connection.execute(PREPARE + statement.query)
    names = sorted(statement.named_parameters, key=lambda name: (len(name), name))
    given = {name: value_of(kind, value) for name, kind, value in request["parameters"]}
    with refused():
        given |= from_arrow(base64.b64decode(request["arrow_parameters"]), names)
    if request["describes"]:
        given, max_rows = given or dict.fromkeys(names), 0
    if missing := [name for name in names if name not in given]:
        raise RefusedError(f"Values were not provided for the following parameters: {', '.join(missing)}.")
    with refused():
        relation = bound(connection, statement.query, parameters=given, max_rows=max_rows)
        closing = Sending(writer, max_rows, request["metadata"]).send(relation)
    return {**closing, "parameters": names} if request["describes"] else closing


def bound(
    connection: duckdb.DuckDBPyConnection, statement: str, *, parameters: dict[str, Any], max_rows: int
) -> Any:
    if not parameters:
        return connection.sql(statement)
    # DuckDB 1.5 computes the whole answer of a statement with parameters, so the cap is in its text.
    capped = f"FROM ({without_end(statement)}\n) LIMIT {max_rows + 1}"
    return connection.sql(capped, params=parameters)


def without_end(statement: str) -> str:
    """Up to its semicolon, which may have comments behind it."""
    import duckdb

    text = statement.encode()
    ends = (place for place, kind in duckdb.tokenize(statement) if text[place : place + 1] == b";")
    return text[: next(ends, len(text))].decode()


def value_of(kind: str | None, value: Any) -> Any:
    """As DuckDB binds it; a time comes as microseconds since 1970."""
    if kind != "time":
        return value
    try:
        return EPOCH + dt.timedelta(microseconds=value)
    except OverflowError:
        raise RefusedError("A parameter is a time outside the years 1 to 9999.") from None


def from_arrow(stream: bytes, names: list[str]) -> dict[str, Any]:
    """By the names of its columns, or by their places where a driver names them by those."""
    import pyarrow as pa

    if not stream:
        return {}
    with pa.ipc.open_stream(stream) as reader:
        table = reader.read_all()
    table.validate(full=True)
    if table.num_rows != 1:
        raise RefusedError(f"One row of parameters is wanted; there are {table.num_rows}.")
    columns = table.column_names
    if table.num_columns == len(names) and all(name.isdigit() for name in names):
        columns = names
    if set(columns) != set(names):
        raise RefusedError(f"Parameters {', '.join(names)} are wanted; {', '.join(columns)} were given.")
    return dict(zip(columns, (column[0].as_py() for column in table.columns), strict=True))


@dataclass(frozen=True)
class Sending:
    """Rows of one statement on their way out, up to the cap."""

    writer: FrameWriter
    max_rows: int
    metadata: dict[str, str]
    """Of the schema."""

    def send(self, relation: Any) -> dict[str, Any]:
        """How many rows, and whether there were more."""
        if relation is None:
            raise RefusedError("The statement gives no rows.")
        sent, is_truncated = 0, False
        with relation.limit(self.max_rows + 1).to_arrow_reader(batch_rows(relation)) as reader:
            schema = plain_schema(reader.schema).with_metadata(self.metadata)
            self._write(Kind.SCHEMA, schema.serialize())
            for batch in gathered(reader):
                kept = batch.slice(0, self.max_rows - sent)
                is_truncated = is_truncated or kept.num_rows < batch.num_rows
                sent += kept.num_rows
                for message in messages(kept if kept.schema.equals(schema) else kept.cast(schema)):
                    self._write(Kind.BATCH, message)
        return {"rows": sent, "is_truncated": is_truncated}

    def _write(self, kind: Kind, message: Any) -> None:
        """The time that a reader takes is not the statement's."""
        left, _ = signal.setitimer(signal.ITIMER_REAL, STALL_SECONDS)
        self.writer.write(kind, message)
        signal.setitimer(signal.ITIMER_REAL, max(left, 0.001))


def batch_rows(relation: Any) -> int:
    varies = any(word in str(kind) for kind in relation.types for word in VARYING)
    return BATCH_ROWS_OF_TEXT if varies else BATCH_ROWS


def gathered(reader: Any) -> Iterator[Any]:
    """Small batches together, since every message has its price; the first one at once."""
    import pyarrow as pa

    waiting: list[Any] = []
    is_first = True
    for batch in reader:
        waiting.append(batch)
        if is_first or sum(one.nbytes for one in waiting) >= WANTED_BATCH_BYTES // 2:
            yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()
            waiting, is_first = [], False
    if waiting:
        yield from pa.Table.from_batches(waiting).combine_chunks().to_batches()


def messages(batch: Any) -> Iterator[Any]:
    """Rows of about WANTED_BATCH_BYTES each, as messages of Arrow."""
    if batch.num_rows == 0:
        return
    if batch.nbytes <= WANTED_BATCH_BYTES or batch.num_rows == 1:
        message = batch.serialize()
        if len(message) <= MAX_FRAME_BYTES:
            yield message
            return
        if batch.num_rows == 1:
            raise RefusedError(
                f"One row has {len(message):,} bytes, and {MAX_FRAME_BYTES:,} can be sent: ask for fewer"
                " columns, or for a part of a long value."
            )
    half = batch.num_rows // 2
    yield from messages(batch.slice(0, half))
    yield from messages(batch.slice(half))


if __name__ == "__main__":
    main()
