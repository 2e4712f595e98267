"""A database made from an export in Parquet, for reports and SQL.

The rows of each view lie in schema `export` as they were exported, and the views are laid over them, so that
SQL answers what the collector would have answered.  Reports read the tables of the store, which are filled
from the same rows as far as those have their columns.  What agents sent word for word is in no view, so that
whole runs cannot be shown.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
from llmenv.fleet.v1.machine_pb2 import Machine
from llmenv.fleet.v1.result_pb2 import Result, Sentence

from llmenv_collector import clock
from llmenv_collector.errors import StoreError, UsageError
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = "manifest.json"
SELF_DESCRIPTION = ("views", "view_columns")
DIRECTION = "coalesce(list_position(['higher', 'lower'], better), 0)"
IN_FULL = {name: f"coalesce({name}, [])" for name in ("trials", "warmups")}
"""Removed ones are NULL in the view."""
OUTCOME = "list_position(['completed', 'cancelled', 'interrupted'], outcome)"


@dataclass(frozen=True)
class Source:
    """Where rows of a table of the store are: a view, and what is called otherwise there."""

    view: str
    columns: dict[str, str] = field(default_factory=dict)
    where: str = "true"


TABLES = {
    "record": Source("records"),
    "environment": Source("environment_sightings"),
    "environment_package": Source("environment_packages"),
    "environment_sighting": Source("environment_sightings", {"measured_at": "seen_at"}),
    "machine": Source("machines", where="hostname IS NOT NULL"),
    "machine_sighting": Source("machines"),
    "run": Source("runs"),
    "run_end": Source("runs", {"outcome": OUTCOME}, "outcome <> 'unknown'"),
    "result": Source("results"),
    "result_case": Source("result_cases"),
    "measurement": Source("measurements", {"direction": DIRECTION, **IN_FULL}),
    "condition": Source("conditions"),
    "expectation": Source("expectations"),
    "fact": Source("facts"),
    "result_variable": Source("result_variables"),
    "remedy_trial": Source("remedy_trials"),
    "change_point": Source("change_points", {"direction": DIRECTION}),
    "acknowledgement": Source("acknowledgements"),
    "imported_file": Source("imports"),
    "imported_measurement": Source(
        "imported_measurements", {"benchmark": "check_name", "direction": DIRECTION}
    ),
}
DISTINCT = {"environment"}
"""Tables of which a view has a row more than once."""
NO_ID = "00000000-0000-0000-0000-000000000000"
DEFAULTS = {"BLOB": "''::BLOB", "VARCHAR": "''", "BOOLEAN": "false", "UUID": f"'{NO_ID}'"}


def database_of(folder: Path, database: Path) -> int:
    """Raises UsageError for a folder that is no whole export in Parquet."""
    manifest = read_manifest(folder)
    try:
        with closing(migrate.connect(database)) as connection:
            migrate.migrate(connection)
            connection.execute("CREATE SCHEMA export")
            for view in manifest["views"]:
                load(connection, folder, view, manifest["files"])
            for table in TABLES:
                fill(connection, table)
            write_machines(connection)
            write_reasons(connection)
            connection.execute("CHECKPOINT")
            return as_of(manifest)
    except duckdb.Error as error:
        raise StoreError(f"{folder} cannot be read: {str(error).splitlines()[0]}") from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """With every file as it was written."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = [(each["path"], each["sha256"]) for each in manifest["files"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"The {MANIFEST} of {folder} cannot be read.") from error
    if manifest.get("format") != "parquet":
        raise UsageError(f"{folder} is an export in {manifest.get('format')}: only Parquet can be served.")
    for path, sha256 in files:
        if checksum(folder / path) != sha256:
            raise UsageError(f"{folder / path} is not as it was written: run `llmenv export` again.")
    return manifest


def checksum(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        return ""


def load(
    connection: duckdb.DuckDBPyConnection, folder: Path, view: dict[str, Any], files: list[dict[str, Any]]
) -> None:
    """The rows of one view, in the columns that the view has here; a column of later is NULL."""
    name = view["name"]
    columns = columns_of(connection, "v1", name)
    if not columns or name in SELF_DESCRIPTION:
        return  # a view that this program does not know, or that describes it
    own = [str(folder / each["path"]) for each in files if each["view"] == name]
    described = ", ".join(f'"{column}" {kind}' for column, kind in columns)
    connection.execute(f"CREATE TABLE export.{name} ({described})")
    if own:
        exported = {column["name"] for column in view["columns"]}
        known = [column for column, _ in columns if column in exported]
        listed = ", ".join(f'"{column}"' for column in known)
        connection.execute(
            f"INSERT INTO export.{name} BY NAME SELECT {listed}"  # noqa: S608 (names of our views)
            " FROM read_parquet(?, union_by_name => true)",
            [own],
        )


def fill(connection: duckdb.DuckDBPyConnection, table: str) -> None:
    """A table of the store from its view; what no view has is empty."""
    source = TABLES[table]
    given = {column for column, _ in columns_of(connection, "export", source.view)}
    wanted = [
        f"{source.columns.get(column) or (column if column in given else default_of(kind))} AS {column}"
        for column, kind in columns_of(connection, "store", table)
    ]
    distinct = "DISTINCT " if table in DISTINCT else ""
    connection.execute(
        f"INSERT INTO store.{table} BY NAME SELECT {distinct}{', '.join(wanted)}"  # noqa: S608 (our own names)
        f" FROM export.{source.view} WHERE {source.where}"
    )


def write_machines(connection: duckdb.DuckDBPyConnection) -> None:
    """Their messages, put together again from their columns."""
    names = {each.name for each in Machine.DESCRIPTOR.fields} - {"machine_id"}
    known = [name for name, _ in columns_of(connection, "store", "machine") if name in names]
    rows = connection.sql(f"SELECT machine_id, {', '.join(known)} FROM store.machine").fetchall()  # noqa: S608 (our own names)
    for machine_id, *values in rows:
        message = Machine(
            **{name: value for name, value in zip(known, values, strict=True) if value is not None}
        )
        connection.execute(
            "UPDATE store.machine SET message = ? WHERE machine_id = ?",
            [message.SerializeToString(), machine_id],
        )


def write_reasons(connection: duckdb.DuckDBPyConnection) -> None:
    """A report takes the sentence about what is wrong from the message of a result."""
    import pyarrow as pa

    rows = connection.sql("SELECT rowid, reason FROM store.result WHERE reason <> ''").fetchall()
    messages = [Result(reason=Sentence(text=reason)).SerializeToString() for _, reason in rows]
    told = pa.table(
        {
            "place": pa.array([place for place, _ in rows], pa.int64()),
            "message": pa.array(messages, pa.binary()),
        }
    )
    connection.register("told", told)
    connection.execute("UPDATE store.result SET message = told.message FROM told WHERE rowid = told.place")
    connection.unregister("told")


def default_of(kind: str) -> str:
    if kind.endswith("[]"):
        return f"[]::{kind}"
    return DEFAULTS.get(kind, "NULL" if kind.startswith(("TIMESTAMP", "MAP", "STRUCT")) else f"0::{kind}")


def columns_of(connection: duckdb.DuckDBPyConnection, schema: str, table: str) -> list[tuple[str, str]]:
    """Names and types, in order."""
    rows: list[tuple[str, str]] = connection.execute(
        "SELECT column_name, data_type FROM duckdb_columns() WHERE schema_name = ? AND table_name = ?"
        " AND database_name = current_database() ORDER BY column_index",
        [schema, table],
    ).fetchall()
    return rows


def lay_over(connection: duckdb.DuckDBPyConnection) -> None:
    """Each view reads what was exported of it, and means what it meant."""
    views = connection.sql(
        "SELECT view_name, comment FROM duckdb_views() AS view WHERE schema_name = 'v1' AND view_name IN"
        " (SELECT table_name FROM duckdb_tables() WHERE schema_name = 'export')"
    ).fetchall()
    for view, meaning in views:
        comments = connection.execute(
            "SELECT column_name, comment FROM duckdb_columns() WHERE schema_name = 'v1' AND table_name = ?",
            [view],
        ).fetchall()
        connection.execute(f"CREATE OR REPLACE VIEW v1.{view} AS FROM export.{view}")
        connection.execute(f"COMMENT ON VIEW v1.{view} IS {quoted(meaning)}")
        for column, comment in comments:
            connection.execute(f'COMMENT ON COLUMN v1.{view}."{column}" IS {quoted(comment)}')


def quoted(text: str | None) -> str:
    return "NULL" if text is None else "'" + text.replace("'", "''") + "'"


def as_of(manifest: dict[str, Any]) -> int:
    """As of when every file is: the oldest of their snapshots."""
    times = [dt.datetime.fromisoformat(each["snapshot_at"]) for each in manifest["files"]]
    return int(min(times, default=dt.datetime.now(dt.UTC)).timestamp() * clock.MICROSECONDS)
