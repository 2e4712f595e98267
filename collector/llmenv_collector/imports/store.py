"""Files of measurements made elsewhere, in the store: whole or not at all, and none of them twice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from llmenv.fleet.v1 import fleet_service_pb2 as fleet

from llmenv_collector import clock
from llmenv_collector.errors import NotFoundError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_collector.imports.measured_row import Measured

TEXTS = ("machine", "chip", "macos", "device", "benchmark", "case_name", "measurement", "unit")
SCHEMA = pa.schema(
    [
        ("line", pa.uint64()),
        *((name, pa.string()) for name in TEXTS),
        ("gpu_cores", pa.uint32()),
        ("memory_bytes", pa.uint64()),
        ("value", pa.float64()),
        ("direction", pa.int32()),
        ("trials", pa.list_(pa.float64())),
        ("packages", pa.map_(pa.string(), pa.string())),
        ("measured_at", pa.timestamp("us", tz="UTC")),
    ]
)
STANDING = "withdrawn_at IS NULL AND source = $source"
SHORTEST_PREFIX = 8
FILES = """
SELECT import_id::VARCHAR, source, file_name, good_rows, refused_rows, epoch_us(imported_at), imported_by,
       epoch_us(withdrawn_at), coalesce(withdrawn_by, '')
FROM store.imported_file
"""
NEWEST = FILES + "ORDER BY imported_at DESC, import_id DESC LIMIT ?"
WITHDRAW = """
UPDATE store.imported_file SET withdrawn_at = make_timestamptz($now), withdrawn_by = $by
WHERE import_id = $import_id::UUID AND withdrawn_at IS NULL
"""
ADD_FILE = """
INSERT INTO store.imported_file BY NAME
SELECT $import_id::UUID AS import_id, $source AS source, $file_name AS file_name,
       $content_hash AS content_hash, $good_rows AS good_rows, $refused_rows AS refused_rows,
       make_timestamptz($imported_at) AS imported_at, $imported_by AS imported_by
"""
ADD_ROWS = """
INSERT INTO store.imported_measurement BY NAME SELECT $import_id::UUID AS import_id, * FROM incoming
"""


@dataclass(frozen=True, kw_only=True)
class ImportedFile:
    """A file that is to be stored.  Time is microseconds since 1970."""

    import_id: str
    source: str
    file_name: str
    content_hash: str
    rows: Sequence[Measured]
    refused_rows: int
    imported_at: int
    imported_by: str
    is_replacement: bool = False


@dataclass(frozen=True)
class Standing:
    """What is there already of a source."""

    is_known: bool
    """Whether this very content is."""
    of_this_name: int
    """Rows of files of the same name."""
    has_this_name: bool


def standing(
    connection: duckdb.DuckDBPyConnection, *, source: str, file_name: str, content_hash: str
) -> Standing:
    ((known, named, rows),) = connection.execute(
        "SELECT count(*) FILTER (content_hash = $hash), count(*) FILTER (file_name = $name),"  # noqa: S608 (our own condition)
        " coalesce(sum(good_rows) FILTER (file_name = $name), 0)::BIGINT"
        f" FROM store.imported_file WHERE {STANDING}",
        {"source": source, "name": file_name, "hash": content_hash},
    ).fetchall()
    return Standing(known > 0, rows, named > 0)


def add(connection: duckdb.DuckDBPyConnection, imported: ImportedFile) -> Standing:
    """Adds it unless it is known, or one of its name is there and it replaces none; says what was there."""
    found = standing(
        connection,
        source=imported.source,
        file_name=imported.file_name,
        content_hash=imported.content_hash,
    )
    if found.is_known or (found.has_this_name and not imported.is_replacement):
        return found
    connection.execute("BEGIN")
    try:
        write(connection, imported)
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
    return found


def newest(connection: duckdb.DuckDBPyConnection, *, limit: int) -> fleet.ListImportsResponse:
    ((total,),) = connection.execute("SELECT count(*) FROM store.imported_file").fetchall()
    rows = connection.execute(NEWEST, [limit]).fetchall()
    return fleet.ListImportsResponse(imports=[imported_file(row) for row in rows], total=total)


def by_id(connection: duckdb.DuckDBPyConnection, *, import_id: str) -> fleet.ImportedFile:
    (row,) = connection.execute(f"{FILES} WHERE import_id = ?::UUID", [import_id]).fetchall()
    return imported_file(row)


def find(connection: duckdb.DuckDBPyConnection, *, identity: str) -> str:
    """The whole id.  Raises NotFoundError, or UsageError when a prefix may mean several."""
    if len(identity) < SHORTEST_PREFIX:
        raise UsageError(f"An import is named by {SHORTEST_PREFIX} characters of its id at least.")
    query = (
        "SELECT import_id::VARCHAR FROM store.imported_file WHERE starts_with(import_id::VARCHAR, lower(?))"
    )
    found = [import_id for (import_id,) in connection.execute(query, [identity]).fetchall()]
    if not found:
        raise NotFoundError(f"There is no import {identity!r}: see `llmenv import --list`.")
    if len(found) > 1:
        raise UsageError(f"{identity!r} begins the ids of {len(found)} imports: give more of it.")
    return str(found[0])


def withdraw(connection: duckdb.DuckDBPyConnection, *, import_id: str, now: int, by: str) -> None:
    """The first to withdraw one is the one who is noted."""
    connection.execute(WITHDRAW, {"import_id": import_id, "now": now, "by": by})


def imported_file(row: tuple[Any, ...]) -> fleet.ImportedFile:
    import_id, source, file_name, good, refused, imported_at, imported_by, withdrawn_at, withdrawn_by = row
    return fleet.ImportedFile(
        import_id=import_id,
        source=source,
        file_name=file_name,
        good_rows=good,
        refused_rows=refused,
        imported_at=clock.to_timestamp(imported_at),
        imported_by=imported_by,
        withdrawn_at=clock.to_timestamp(withdrawn_at),
        withdrawn_by=withdrawn_by,
    )


def write(connection: duckdb.DuckDBPyConnection, imported: ImportedFile) -> None:
    connection.execute(
        "UPDATE store.imported_file SET withdrawn_at = make_timestamptz($now), withdrawn_by = $by"  # noqa: S608 (our own condition)
        f" WHERE {STANDING} AND file_name = $name",
        {
            "now": imported.imported_at,
            "by": imported.imported_by,
            "source": imported.source,
            "name": imported.file_name,
        },
    )
    connection.execute(
        ADD_FILE,
        {
            "import_id": imported.import_id,
            "source": imported.source,
            "file_name": imported.file_name,
            "content_hash": imported.content_hash,
            "good_rows": len(imported.rows),
            "refused_rows": imported.refused_rows,
            "imported_at": imported.imported_at,
            "imported_by": imported.imported_by,
        },
    )
    connection.register("incoming", table_of(imported.rows))
    try:
        connection.execute(ADD_ROWS, {"import_id": imported.import_id})
    finally:
        connection.unregister("incoming")


def table_of(rows: Sequence[Measured]) -> pa.Table:
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    columns["trials"] = [list(row.trials) for row in rows]
    columns["packages"] = [list(row.packages.items()) for row in rows]
    return pa.table(columns, schema=SCHEMA)
