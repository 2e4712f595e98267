"""Environments that a machine has described and this store does not know, after it went back to a backup."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

MAX_ASKED = 1_000


def lacking(connection: duckdb.DuckDBPyConnection, *, machine_id: str, hashes: Sequence[str]) -> list[str]:
    """Of the hashes as the machine states them, those without a sighting of the machine, in their order."""
    query = """
        SELECT DISTINCT environment_hash FROM store.environment_sighting
        WHERE machine_id = ? AND environment_hash IN (SELECT unnest(?::VARCHAR[]))
    """
    asked = list(dict.fromkeys(hashes))[:MAX_ASKED]
    known = {found for (found,) in connection.execute(query, [machine_id, asked]).fetchall()}
    return [each for each in asked if each not in known]
