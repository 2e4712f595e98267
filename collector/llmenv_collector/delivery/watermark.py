"""How far a spool is durable, and what may come next.

For every spool, always: sequence = stored + rejected + dropped.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb
    from llmenv.fleet.v1 import record_pb2

    from llmenv_collector.delivery.ingest import Reading

FIRST_DIGEST = bytes(32)


@dataclass(frozen=True)
class Watermark:
    """The state of one spool, as one row of store.watermark keeps it."""

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

    def after(self, reading: Reading) -> Watermark:
        """Moved past a record that follows."""
        arrival = reading.arrival
        covered = arrival.sequence - self.sequence
        return replace(
            self,
            sequence=arrival.sequence,
            digest=hashlib.sha256(self.digest + arrival.record).digest(),
            stored=self.stored + (0 if reading.reason or reading.is_tombstone else covered),
            rejected=self.rejected + (covered if reading.reason else 0),
            dropped=self.dropped + (covered if reading.is_tombstone else 0),
            previous_spool_id=reading.previous_spool_id or self.previous_spool_id,
            previous_answered=self.previous_answered or answered_before(reading.message.spool_forked),
            first_received_at=self.first_received_at or arrival.received_at,
            last_received_at=arrival.received_at,
        )

    def row(self) -> dict[str, Any]:
        return dict(vars(self))


def answered_before(forked: record_pb2.SpoolForked) -> int:
    """Of the spool that is continued: what both copies had, and what a restored collector lost after that."""
    return forked.shared_sequence + forked.lost_records


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
