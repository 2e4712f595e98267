"""DuckDB as people's statements have it: read-only, with a locked configuration, and errors as sentences."""

from __future__ import annotations

import contextlib
import functools
import json
import re
from typing import TYPE_CHECKING, Any

from llmenv_collector.sql.statement_rules import SCHEMA, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import duckdb

THREADS = 2
WRITES = "attached in read-only mode"
ADVICE = re.compile(r" (?:Use|Please try|Possible solutions)\b[^.]*\b(?:SET|INSTALL|PRAGMA)\b.*")
"""DuckDB's, to do what is locked here."""
SIGNS_OF_NO_MEMORY = ("bad_alloc", "bad allocation", "Out of Memory")


def connect(
    path: str, *, memory_bytes: int, lake: Mapping[str, Any] | None = None
) -> duckdb.DuckDBPyConnection:
    """With a lake, the file at `path` has its views, and nothing but its files may be opened."""
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
            "threads": THREADS,
        },
    )
    if lake:
        from llmenv_collector.lake.place import Place

        Place.from_shown(lake).show(connection, commit=lake["commit"])
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute(f"SET schema = '{SCHEMA}'")
    connection.execute("SET errors_as_json = true")
    connection.execute("SET enable_external_access = false")
    connection.execute("SET lock_configuration = true")
    return connection


@contextlib.contextmanager
def refused(text: str = "", *, before: str = "", shift: int = 0) -> Iterator[None]:
    """What DuckDB says of a text, which has this before it and was read so many bytes further on."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (duckdb.OutOfMemoryException, pa.ArrowMemoryError) as error:
        raise MemoryError from error
    # While rows are read, Arrow passes DuckDB's errors on as an OSError.
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if any(sign in str(error) for sign in SIGNS_OF_NO_MEMORY):
            raise MemoryError from error
        place = functools.partial(place_of, text, shift=shift, before=before) if text else None
        raise RefusedError(sentence(error, place)) from error


def sentence(error: Exception, place: Callable[[int], str] | None = None) -> str:
    """DuckDB's message without its picture of the statement, and with the place that it names."""
    kind, mark, content = str(error).partition("{")
    try:
        told = json.loads(mark + content)
        message, position = kind + told["exception_message"], told.get("position")
    except (ValueError, TypeError, KeyError):
        message, position = str(error), None
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    kept = " ".join([line for line in lines if not line.startswith(("LINE ", "^"))][:3])
    if WRITES in kept:
        return "Only a SELECT may be asked, within WITH as well; the snapshot is read-only."
    told_place = f" ({place(int(position))})" if place and position is not None else ""
    return ADVICE.sub("", kept)[:500] + told_place


def place_of(text: str, position: int, *, shift: int, before: str) -> str:
    """Line and column, from 1, of a byte of the text."""
    read = before + text.encode()[: max(0, position - shift)].decode(errors="ignore")
    return f"line {read.count(chr(10)) + 1}, column {len(read) - read.rfind(chr(10))}"
