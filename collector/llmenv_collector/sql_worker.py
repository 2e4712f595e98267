"""The process in which one statement of a person runs, on a read-only snapshot.

Reads a JSON request from stdin, writes an Arrow IPC stream to stdout, and on the
last line of stderr one JSON object: {"rows", "is_truncated"} or {"error"}.
The limits are set before DuckDB is loaded: an alarm whose default action ends
the process even inside C++ code, and a cap on its memory.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING, Any

from llmenv_collector import process_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import duckdb

SCHEMA = "v1"
CATALOGS = ("information_schema", "pg_catalog", "main")
TABLES_BY_TEXT = ("query", "query_table", "json_execute_serialized_sql")
BATCH_ROWS = 16_384
MEMORY_EXIT = 3
PREPARE = "PREPARE asked AS "
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class RefusedError(Exception):
    """One sentence for the person who wrote the statement."""


def main() -> int:
    request = json.loads(sys.stdin.read())
    limit(seconds=request["seconds"], memory_bytes=request["memory_bytes"])
    try:
        summary = answer(request)
    except RefusedError as error:
        summary = {"error": str(error)}
    except MemoryError:
        summary = {"limit": "memory"}
    sys.stderr.write(json.dumps(summary) + "\n")
    return 0 if "rows" in summary else 1


def limit(*, seconds: int, memory_bytes: int) -> None:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(seconds)
    os.nice(10)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    process_memory.end_above(memory_bytes, exit_code=MEMORY_EXIT)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    sql, max_rows = request["sql"], request["max_rows"]
    with refused():
        connection = connect(request["snapshot"], memory_bytes=request["memory_bytes"])
    with refused(sql):
        statement = only_select(connection, sql)
    # Errors name a place in the text only here, not where a relation is made of it.
    before = sql[: max(0, sql.find(statement))]
    with refused(statement, before=before, shift=len(PREPARE)):
        connection.execute(PREPARE + statement)
    parameters = {name: value_of(kind, value) for name, kind, value in request["parameters"]}
    with refused():
        return send(bound(connection, statement, parameters=parameters, max_rows=max_rows), max_rows=max_rows)


@contextlib.contextmanager
def refused(text: str = "", *, before: str = "", shift: int = 0) -> Iterator[None]:
    """What DuckDB says of a text, which has this before it and was read so many bytes further on."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (duckdb.OutOfMemoryException, pa.ArrowMemoryError) as error:
        raise MemoryError from error
    except duckdb.Error as error:
        if "bad_alloc" in str(error) or "bad allocation" in str(error):
            raise MemoryError from error
        place = functools.partial(place_of, text, shift=shift, before=before) if text else None
        raise RefusedError(sentence(error, place)) from error


def connect(path: str, *, memory_bytes: int) -> duckdb.DuckDBPyConnection:
    import duckdb

    connection = duckdb.connect(
        path,
        read_only=True,
        config={
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "memory_limit": f"{memory_bytes // 2} B",
            "temp_directory": "",
            "threads": 2,
        },
    )
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(f"SET schema = '{SCHEMA}'")
    connection.execute("SET errors_as_json = true")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


def only_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """The one SELECT in the text; anything else is refused."""
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise RefusedError(f"One SELECT statement is wanted; there are {len(statements)} statements.")
    (statement,) = statements
    if statement.type != duckdb.StatementType.SELECT:
        kind = str(statement.type).rpartition(".")[2]
        raise RefusedError(f"Only a SELECT may be asked, not {kind}; the snapshot is read-only.")
    require_views_only(connection, statement.query)
    return str(statement.query)


def require_views_only(connection: duckdb.DuckDBPyConnection, sql: str) -> None:
    """The tables behind the views change with the program; only the views are promised."""
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    tree = json.loads(text)
    if tree.get("error"):
        raise RefusedError(f"The statement cannot be read: {tree['error_message']}.")
    for node in nodes(tree):
        if node.get("schema_name", "").lower() not in {"", SCHEMA, *CATALOGS}:
            raise RefusedError(f"Only the views of schema {SCHEMA} may be asked, not {node['schema_name']}.")
        if node.get("function_name", "").lower() in TABLES_BY_TEXT:
            raise RefusedError(f"{node['function_name']}() hides what it reads: write the statement out.")


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


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in a JSON tree."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            yield node
            waiting.extend(node.values())
        elif isinstance(node, list):
            waiting.extend(node)


def send(relation: Any, *, max_rows: int) -> dict[str, Any]:
    """Rows up to the cap, and whether there were more."""
    import pyarrow as pa

    if relation is None:
        raise RefusedError("The statement gives no rows.")
    sent, is_truncated = 0, False
    with relation.limit(max_rows + 1).to_arrow_reader(BATCH_ROWS) as reader:
        with pa.ipc.new_stream(sys.stdout.buffer, reader.schema) as writer:
            for batch in reader:
                kept = batch.slice(0, max_rows - sent)
                is_truncated = is_truncated or kept.num_rows < batch.num_rows
                sent += kept.num_rows
                writer.write_batch(kept)
        sys.stdout.flush()
    return {"rows": sent, "is_truncated": is_truncated}


def sentence(error: Exception, place: Callable[[int], str] | None = None) -> str:
    """DuckDB's message without its picture of the statement, and with the place that it names."""
    kind, mark, content = str(error).partition("{")
    try:
        told = json.loads(mark + content)
        message, position = kind + told["exception_message"], told.get("position")
    except (ValueError, TypeError, KeyError):
        message, position = str(error), None
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    kept = [line for line in lines if not line.startswith(("LINE ", "^"))]
    told_place = f" ({place(int(position))})" if place and position is not None else ""
    return " ".join(kept[:3])[:500] + told_place


def place_of(text: str, position: int, *, shift: int, before: str) -> str:
    """Line and column, from 1, of a byte of the text."""
    read = before + text.encode()[: max(0, position - shift)].decode(errors="ignore")
    return f"line {read.count(chr(10)) + 1}, column {len(read) - read.rfind(chr(10))}"


if __name__ == "__main__":
    sys.exit(main())
