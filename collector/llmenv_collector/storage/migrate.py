"""The schema of the store, brought forward step by step, never back.

Each file migrations/NNNN_name.sql is applied once, in one transaction with its
row in store.schema_version; a checkpoint follows.  The views of schema v1 hold
no data and are laid anew after every step.
"""

from __future__ import annotations

import importlib.resources
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.errors import DamagedStoreError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Both majors of DuckDB that are supported read files of this version.
STORAGE_VERSION = "v1.5.0"
# What DuckDB says of a file or a log that is not whole; it has no kind of error of its own for that.
SIGNS_OF_DAMAGE = (
    "Corrupt",
    "not a valid DuckDB database file",
    "Failure while replaying WAL",
    "Could not read enough bytes",
)
# Of every log of DuckDB 1.5.5 and 2.0.1: field 100 is the kind of an entry, and the first tells the version.
LOG_BEGINNING = b"\x64\x00\x62"
VERSION_TABLE = """
CREATE SCHEMA IF NOT EXISTS store;
CREATE SCHEMA IF NOT EXISTS v1;
CREATE TABLE IF NOT EXISTS store.schema_version (
  version INTEGER NOT NULL,
  name VARCHAR NOT NULL,
  applied_at TIMESTAMPTZ NOT NULL
);
"""


@dataclass(frozen=True)
class Migration:
    version: int
    name: str
    statements: str


MEMORY_LIMIT = "512MiB"
"""Of DuckDB's pages and tables; what needs more is put on disk meanwhile."""


def connect(path: Path) -> duckdb.DuckDBPyConnection:
    """The one connection that may write, with checkpoints left to the store."""
    require_log(path)
    try:
        connection = duckdb.connect(
            str(path),
            config={
                "storage_compatibility_version": STORAGE_VERSION,
                "checkpoint_threshold": "1TB",
                "memory_limit": MEMORY_LIMIT,
                "python_enable_replacements": False,
                "autoinstall_known_extensions": False,
            },
        )
        connection.execute("SET GLOBAL TimeZone = 'UTC'")
    except duckdb.Error as error:
        raise opening_error(path, error) from error
    return connection


def opening_error(path: Path, error: duckdb.Error) -> StoreError:
    text = str(error)
    if "Conflicting lock" in text or "Could not set lock" in text:
        return StoreError(f"Another process has {path} open: stop it, or ask it instead.")
    kind = DamagedStoreError if is_damage(error) else StoreError
    return kind(f"{path} cannot be opened as a DuckDB database: {text.splitlines()[0].rstrip('.!?')}.")


def is_damage(error: duckdb.Error) -> bool:
    return any(sign in str(error) for sign in SIGNS_OF_DAMAGE)


def require_log(database: Path) -> None:
    """Raises DamagedStoreError where DuckDB would remove a log, and what is committed there, without a word.

    It does so when it cannot read the beginning.  One of zeros is what a power cut leaves of a log in which
    nothing was committed.
    """
    try:
        with log_of(database).open("rb") as file:
            beginning = file.read(len(LOG_BEGINNING))
    except OSError:  # there is none, or DuckDB says why it cannot be read
        return
    if any(beginning) and not LOG_BEGINNING.startswith(beginning):
        raise DamagedStoreError(
            f"{database} cannot be opened as a DuckDB database: its log does not begin as one."
        )


def log_of(database: Path) -> Path:
    """Beside it: what is committed and not in the file yet."""
    return database.with_name(database.name + ".wal")


def migrate(
    connection: duckdb.DuckDBPyConnection, *, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """Applies what is missing and returns it.  Raises StoreError when the file is newer than this program."""
    missing = bring_forward(connection, migrations=migrations)
    with explained():
        lay_views(connection)
        connection.execute("CHECKPOINT")
    return missing


def bring_forward(
    connection: duckdb.DuckDBPyConnection, *, migrations: Sequence[Migration] | None = None
) -> list[Migration]:
    """The tables alone."""
    known = list(migrations if migrations is not None else shipped())
    with explained():
        connection.execute(VERSION_TABLE)
        present = current_version(connection)
        newest = max((migration.version for migration in known), default=0)
        if present > newest:
            raise StoreError(
                f"The database has schema {present} and this collector knows {newest}: upgrade it."
            )
        missing = [migration for migration in known if migration.version > present]
        for migration in missing:
            apply(connection, migration)
    return missing


def require_current(connection: duckdb.DuckDBPyConnection) -> None:
    """For whoever cannot bring it forward.  Raises StoreError."""
    present, newest = current_version(connection), max(one.version for one in shipped())
    if present != newest:
        raise StoreError(
            f"The store has schema {present} and this program reads {newest}: upgrade whichever is older."
        )


@contextmanager
def explained() -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        kind = DamagedStoreError if is_damage(error) else StoreError
        raise kind(f"The schema cannot be brought forward: {error}") from error


def current_version(connection: duckdb.DuckDBPyConnection) -> int:
    """0 for a database without any step."""
    ((version,),) = connection.execute(
        "SELECT coalesce(max(version), 0) FROM store.schema_version"
    ).fetchall()
    return int(version)


def apply(connection: duckdb.DuckDBPyConnection, migration: Migration) -> None:
    connection.execute("BEGIN")
    try:
        connection.execute(migration.statements)
        connection.execute(
            "INSERT INTO store.schema_version VALUES (?, ?, now())", [migration.version, migration.name]
        )
    except duckdb.Error:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def lay_views(connection: duckdb.DuckDBPyConnection) -> None:
    """With what their files say at the end, a time and an example, in the comment of each, for v1.views."""
    for file, statements in view_files():
        connection.execute(statements)
        view = file.removesuffix(".sql")
        ((meaning,),) = connection.execute(
            "SELECT comment FROM duckdb_views() WHERE schema_name = 'v1' AND view_name = ?"
            " AND database_name = current_database()",
            [view],
        ).fetchall()
        described = "\n".join([meaning, "", *closing_remarks(statements)]).replace("'", "''")
        connection.execute(f"COMMENT ON VIEW v1.{view} IS '{described}'")


def closing_remarks(statements: str) -> list[str]:
    """The comment at the end of a view's file: the time it is parted by, where it is, and an example."""
    lines = [line.removeprefix("-- ") for line in statements.splitlines() if line.startswith("-- ")]
    starts = (place for place, line in enumerate(lines) if line.startswith(("Time: ", "Example: ")))
    return lines[next(starts, len(lines)) :]


def shipped() -> list[Migration]:
    """The steps of this program, in order."""
    return [
        Migration(version=int(name[:4]), name=name.removesuffix(".sql"), statements=statements)
        for name, statements in sql_files("migrations")
    ]


def view_files() -> list[tuple[str, str]]:
    """File name and statements of each view, by name."""
    return sql_files("views")


def sql_files(folder: str) -> list[tuple[str, str]]:
    files = (importlib.resources.files("llmenv_collector") / folder).iterdir()
    return sorted(
        (file.name, file.read_text(encoding="utf-8")) for file in files if file.name.endswith(".sql")
    )
