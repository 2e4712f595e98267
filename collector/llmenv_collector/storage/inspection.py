"""What a database file holds that nobody else has open: read to its last row, and never written.

DuckDB checks a block's checksum when it reads it, so a file that was read whole
is sound.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.errors import BackupError
from llmenv_collector.storage.migrate import current_version

if TYPE_CHECKING:
    from pathlib import Path

READING = {"threads": 1, "memory_limit": "512MB", "autoinstall_known_extensions": False}


@dataclass(frozen=True)
class Contents:
    """How far a database is."""

    schema: int
    """Number of its last migration."""
    records: int
    """Stored records, a count."""
    watermarks: dict[str, int]
    """By spool: highest durable sequence."""

    def ahead_of(self, older: Contents) -> int:
        """Sequences that are durable here and not there, a count."""
        return sum(
            max(0, sequence - older.watermarks.get(spool_id, 0))
            for spool_id, sequence in self.watermarks.items()
        )


def inspect(database: Path) -> Contents:
    """Raises BackupError for a file that is damaged, or that no collector wrote."""
    try:
        with closing(duckdb.connect(str(database), read_only=True, config=READING)) as connection:
            for (table,) in connection.execute(
                "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'store'"
            ).fetchall():
                connection.execute(f"SELECT bit_xor(hash(row)) FROM store.{table} AS row").fetchall()  # noqa: S608 (its own names)
            ((records,),) = connection.execute("SELECT count(*) FROM store.record").fetchall()
            watermarks = connection.execute(
                "SELECT spool_id::VARCHAR, sequence FROM store.watermark"
            ).fetchall()
            return Contents(schema=current_version(connection), records=records, watermarks=dict(watermarks))
    except duckdb.Error as error:
        raise BackupError(
            f"{database} is not a sound database of a collector: {str(error).splitlines()[0]}"
        ) from error


def engine_version() -> str:
    return str(duckdb.__version__)
