"""How whoever asks reads a database: one state of it throughout, and errors as sentences."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.delivery.group import first_line
from llmenv_collector.errors import AnalysisLimitError, StoreError
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def one_state(connection: duckdb.DuckDBPyConnection, *, of: str) -> Iterator[duckdb.DuckDBPyConnection]:
    """A cursor for one thread; `of` names what is read, such as "database"."""
    try:
        cursor = connection.cursor()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            yield cursor
        finally:
            cursor.close()
    except duckdb.OutOfMemoryException as error:
        raise AnalysisLimitError(
            f"The answer needs more than the {migrate.MEMORY_LIMIT} of memory that reading may take:"
            " ask for a shorter period, or for fewer machines or checks."
        ) from error
    except duckdb.Error as error:
        raise StoreError(f"The {of} could not be read: {first_line(error)}") from error
