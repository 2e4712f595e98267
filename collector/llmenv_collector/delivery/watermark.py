"""How far a spool is durable, and what may come next.

For every spool, always: sequence = stored + rejected + dropped.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

    from llmenv_collector.delivery.ingest import Reading

FIRST_DIGEST = bytes(32)


@dataclass(slots=True)
class Watermark:
    """The state of one spool, as one row of store.watermark keeps it; it moves on with each record."""

    spool_id: str
    machine_id: str
    sequence: int = 0
    digest: bytes = FIRST_DIGEST
    stored: int = 0
    rejected: int = 0
    dropped: int = 0
    repeated: int = 0
    previous_spool_id: str | None = None
    previous_answered: int = 0
    first_received_at: int = 0
    last_received_at: int = 0

    def follows(self, reading: Reading) -> bool:
        """Whether the record is the next one, or a tombstone that reaches back to the next one."""
        return reading.first_sequence <= self.sequence + 1 <= reading.arrival.sequence

    def advance(self, reading: Reading) -> None:
        """Past a record that follows."""
        arrival = reading.arrival
        covered = arrival.sequence - self.sequence
        self.sequence = arrival.sequence
        self.digest = hashlib.sha256(self.digest + arrival.record).digest()
        if reading.reason:
            self.rejected += covered
        elif reading.is_tombstone:
            self.dropped += covered
        else:
            self.stored += covered
        self.previous_spool_id = reading.previous_spool_id or self.previous_spool_id
        self.previous_answered = self.previous_answered or reading.previous_answered
        self.first_received_at = self.first_received_at or arrival.received_at
        self.last_received_at = arrival.received_at

    def row(self) -> dict[str, Any]:
        return asdict(self)


def read_watermarks(connection: duckdb.DuckDBPyConnection, spool_ids: Iterable[str]) -> dict[str, Watermark]:
    """Of those spools that have one."""
    query = """
        SELECT spool_id::VARCHAR, machine_id::VARCHAR, sequence, digest, stored, rejected, dropped,
               repeated, previous_spool_id::VARCHAR, previous_answered,
               epoch_us(first_received_at), epoch_us(last_received_at)
        FROM store.watermark WHERE spool_id IN (SELECT unnest(?::UUID[]))
    """
    rows = connection.execute(query, [list(spool_ids)]).fetchall()
    return {row[0]: Watermark(*row) for row in rows}
