"""How a group of deliveries is one transaction: watermarks are read in it and advance with its rows."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from llmenv_collector.delivery.columns import Tables
from llmenv_collector.delivery.watermark import Watermark, read_watermarks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from contextlib import AbstractContextManager

    import duckdb

Known = dict[str, Watermark]
"""By spool."""


class Transactions(Protocol):
    """Of the one connection that may write."""

    @property
    def tables(self) -> Tables: ...

    def begun(self, spools: Mapping[str, str]) -> AbstractContextManager[Known]:
        """Commits at the end of the block, or takes all of it back; what is known of the spools by then.

        `spools` gives the machine of each spool that is delivered.
        """

    def copied(self) -> list[tuple[str, str]]:
        """Machine and former spool of those spools that continue a copied one."""

    def advance(self, before: Mapping[str, Watermark], after: Collection[Watermark]) -> None:
        """With the block's other rows, or not at all."""


class FileTransactions:
    """Of a file, which has no other writer: what it says is so until this one changes it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.tables = Tables(connection)

    @contextmanager
    def begun(self, spools: Mapping[str, str]) -> Iterator[Known]:
        self._connection.execute("BEGIN")
        try:
            yield read_watermarks(self._connection, spools)
        except Exception:
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def copied(self) -> list[tuple[str, str]]:
        query = """
            SELECT machine_id::VARCHAR, previous_spool_id::VARCHAR FROM store.watermark
            WHERE previous_spool_id IS NOT NULL
        """
        rows: list[tuple[str, str]] = self._connection.execute(query).fetchall()
        return rows

    def advance(self, before: Mapping[str, Watermark], after: Collection[Watermark]) -> None:  # noqa: ARG002 (nobody else moved them)
        rows = self.tables.of_rows("watermark", [mark.row() for mark in after])
        self.tables.merge("watermark", rows, key="spool_id")
