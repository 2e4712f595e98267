"""A process's DuckDB with the lake attached: a connection for readers, and one that writes into the lake."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.delivery.group import first_line
from llmenv_collector.errors import StoreError
from llmenv_collector.lake import extensions
from llmenv_collector.lake.place import LAKE
from llmenv_collector.storage.migrate import MEMORY_LIMIT

if TYPE_CHECKING:
    from llmenv_collector.lake.place import Place

WRITERS_PATH = f"{LAKE}.main,{LAKE}.store,memory.v1"
"""Tables of the lake themselves, and the views that fold them."""
RETRIES = 100
RETRY_MILLISECONDS = 20
"""DuckLake numbers commits: of two at the same time one tries again, with the next number."""


NO_ANSWER = re.compile(r'Unable to connect to Postgres at ".*?": ([^\n]*)')
NOTHING_THERE = "Existing DuckLake at metadata catalog"


def told(error: duckdb.Error) -> str:
    """In one line, without the connection string that DuckDB quotes."""
    if NOTHING_THERE in str(error):
        return "there is none in this catalog yet, and whoever only reads makes none."
    if found := NO_ANSWER.search(str(error)):
        return f"its catalog did not answer: {found[1].strip().rstrip('.')}."
    return first_line(error)


def attached(place: Place, *, options: str = "", data: str = "") -> duckdb.DuckDBPyConnection:
    """Whoever reads uses cursors of it, where names are those of views.  Raises StoreError, UsageError.

    `data` is another way to the files of a lake that is there.
    """
    connection = duckdb.connect(
        config={
            "memory_limit": MEMORY_LIMIT,
            "python_enable_replacements": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    try:
        extensions.load(connection)
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
        connection.execute(f"SET GLOBAL ducklake_max_retry_count = {RETRIES}")
        connection.execute(f"SET GLOBAL ducklake_retry_wait_ms = {RETRY_MILLISECONDS}")
        connection.execute("SET GLOBAL ducklake_retry_backoff = 1.1")
        for statement in place.secrets():
            connection.execute(statement)
        connection.execute(place.attachment(LAKE, options=options, data=data))
    except duckdb.Error as error:
        connection.close()
        raise StoreError(f"The lake cannot be opened: {told(error)}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def writing(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """A cursor for which the tables of schema `store` are the lake's own."""
    cursor = connection.cursor()
    cursor.execute(f"CREATE SCHEMA IF NOT EXISTS {LAKE}.store; CREATE SCHEMA IF NOT EXISTS memory.v1")
    cursor.execute(f"SET search_path = '{WRITERS_PATH}'")
    return cursor
