"""Records of one spool, and what a store made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery.ingest import Arrival

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmenv_collector.storage.store import Store


class Spool:
    """Of one machine; `record` may be asked again for the same sequence and gives the same bytes."""

    def __init__(self, machine_id: str = "") -> None:
        self.machine_id = machine_id or new_id()
        self.spool_id = new_id()
        self._records: dict[int, bytes] = {}

    def record(self, sequence: int, **kind: Any) -> Arrival:
        if sequence not in self._records:
            kind = kind or {
                "check_started": {"run_id": new_id(), "result_id": new_id(), "check_name": "torch_basics"}
            }
            record = record_pb2.Record(record_id=new_id(), machine_id=self.machine_id, **kind)
            self._records[sequence] = record.SerializeToString()
        return Arrival(
            self.spool_id, self.machine_id, 1, sequence, self._records[sequence], received_at=sequence
        )

    def records(self, sequences: Iterable[int]) -> list[Arrival]:
        return [self.record(sequence) for sequence in sequences]


def answer(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.reader() as connection:
        return connection.execute(query).fetchall()


def ledger(store: Store) -> tuple[int, int, int]:
    """Rows of records, different ids among them, and what the watermarks say is stored."""
    query = """
        SELECT count(*), count(DISTINCT record_id),
               coalesce((SELECT sum(stored) FROM store.watermark), 0)::BIGINT
        FROM store.record
    """
    ((rows, ids, stored),) = answer(store, query)
    return rows, ids, stored
