"""What a snapshot can be served from: a backup, a copy of the database file, or an export in Parquet."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector import clock
from llmenv_collector.backups.backup_folder import DATABASE, MANIFEST, BackupFolder
from llmenv_collector.errors import StoreError, UsageError
from llmenv_collector.snapshots import file_copy
from llmenv_collector.storage import migrate

if TYPE_CHECKING:
    from pathlib import Path


def taken_from(source: Path, database: Path) -> int:
    """Makes `database`; returns as of when it is, microseconds since 1970.  Raises CollectorError."""
    require_there(source)
    if source.is_dir():
        return _from_folder(source, database)
    return _from_file(source, database)


def require_there(source: Path) -> None:
    """Raises UsageError."""
    if not source.exists():
        raise UsageError(f"There is no snapshot {source}.")


def _from_folder(source: Path, database: Path) -> int:
    if is_export(source):
        from llmenv_collector.snapshots.parquet import database_of

        return database_of(source, database)
    backup = BackupFolder.open(source)
    backup.verify()
    return _from_file(source / DATABASE, database)


def is_export(folder: Path) -> bool:
    """Its manifest describes views, that of a backup describes a database."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and "views" in content


def _from_file(source: Path, database: Path) -> int:
    """With the log beside it, where it was copied from a collector that was killed."""
    try:
        file_copy.copy(source, database)
        if migrate.log_of(source).exists():
            file_copy.copy(migrate.log_of(source), migrate.log_of(database))
    except OSError as error:
        raise UsageError(f"{source} cannot be copied: {error.strerror}.") from error
    try:
        with duckdb.connect(str(database)) as connection:
            ((newest,),) = connection.execute(
                "SELECT epoch_us(max(received_at)) FROM store.record"
            ).fetchall()
    except duckdb.Error as error:
        raise StoreError(f"{source} is no database of a collector: {str(error).splitlines()[0]}") from error
    return int(newest) if newest is not None else int(source.stat().st_mtime * clock.MICROSECONDS)
