"""What environments consist of: each is stored once, and known by its content from then on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.delivery.columns import Tables

MOST_KNOWN = 100_000


class Environments:
    """Those in the store, of which the ids that came lately are remembered."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, tables: Tables, *, remember: bool) -> None:
        """`remember` where nobody else removes any."""
        self._connection = connection
        self._remember = remember
        self._tables = tables
        self._known: set[str] = set()
        self._added: set[str] = set()

    def begin(self) -> None:
        """A transaction begins; what the last one added counts only where it said that it ended well."""
        self._added = set()

    def look_again(self) -> None:
        """Somebody else may have removed some."""
        self._known.clear()

    def insert(self, environments: pa.Table | None, packages: pa.Table | None) -> None:
        """Those that the store lacks, in the transaction that has begun."""
        if environments is None:
            return
        came = set(environments["environment_id"].to_pylist()) - self._known
        self._added |= came
        new = pa.array(came - self._stored(came), pa.string())
        for name, table in (("environment", environments), ("environment_package", packages)):
            if table is not None and len(new):
                rows = table.filter(pc.is_in(table["environment_id"], new))
                self._tables.insert(name, rows, distinct=True)

    def are_durable(self) -> None:
        """The transaction has ended well."""
        if len(self._known) > MOST_KNOWN:
            self._known.clear()
        if self._remember:
            self._known |= self._added

    def _stored(self, ids: set[str]) -> set[str]:
        query = """
            SELECT environment_id FROM store.environment
            WHERE environment_id IN (SELECT unnest(?::VARCHAR[]))
        """
        rows = self._connection.execute(query, [list(ids)]).fetchall() if ids else []
        return {identity for (identity,) in rows}
