"""After an upgrade: records that were kept raw are read again, and now understood.

A record kept raw was counted as stored when it came.  Its rows are replaced in
one transaction, so that it is stored once before and after.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.delivery import ingest
from llmenv_collector.delivery.group import REFUSALS_OF_VALUES
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from llmenv_collector.delivery.group import GroupWriter

AT_ONCE = 1_000


def reingest(connection: duckdb.DuckDBPyConnection, writer: GroupWriter) -> int:
    """How many raw records are understood wholly now."""
    understood = 0
    with contextlib.closing(raw_arrivals(connection)) as groups:
        for arrivals in groups:
            understood += replace(arrivals, writer)
    return understood


def replace(arrivals: Sequence[Arrival], writer: GroupWriter) -> int:
    """How many of a group are understood wholly now.  Raises StoreError."""
    readings = [ingest.read(arrival) for arrival in arrivals]
    # What is still not understood, or not acceptable by the newer rules, stays raw as it is.
    whole = [one for one in readings if not one.reason and not one.is_raw]
    try:
        if whole:
            writer.replace(whole)
    except (*REFUSALS_OF_VALUES, duckdb.Error) as error:
        raise StoreError(f"Records kept raw could not be ingested: {error}") from error
    return len(whole)


def raw_arrivals(connection: duckdb.DuckDBPyConnection) -> Generator[list[Arrival]]:
    """Those of a revision that is spoken here, in groups, in the order in which they came.

    That is the order of the rows: sorting would take all of them at once, however many there are.
    """
    query = """
        SELECT spool_id::VARCHAR, machine_id::VARCHAR, protocol_revision, sequence, record,
               epoch_us(received_at)
        FROM store.record_raw WHERE protocol_revision <= ?
    """
    # Whoever replaces a group while the next are still to be read would end a result of the same cursor.
    with contextlib.closing(connection.cursor()) as cursor:
        cursor.execute(query, [ingest.PROTOCOL_REVISION])
        while rows := cursor.fetchmany(AT_ONCE):
            yield [Arrival(*row) for row in rows]
