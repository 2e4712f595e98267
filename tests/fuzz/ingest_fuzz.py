"""Records made up at random, ingested and stored: none raises or breaks a view, and memory does not grow."""

from __future__ import annotations

import gc
import os
import random
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery import ingest
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.storage import migrate
from llmenv_collector.storage.store import Store

from . import random_messages
from .rpc_fuzz import resident_bytes

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

MACHINE = "019c6120-0000-7000-8000-0000000000aa"
GROUP_RECORDS = 500
STORE_RECORDS = 50_000
"""Then a new database is begun, so that views are asked of one of a known size."""
VIEWS = [name.removesuffix(".sql") for name, _ in migrate.view_files()]


@dataclass
class Tally:
    records: int = 0
    accepted: int = 0
    rejected: int = 0
    rows_seen: int = 0
    """In the views."""
    resident_first: int = 0
    """Bytes, after the first database."""
    resident_last: int = 0

    @property
    def growth(self) -> int:
        return self.resident_last - self.resident_first


def arrival(sequence: int, spool_id: str, chance: Random) -> Arrival:
    """Mostly of the machine that delivers it and with an id, without which no other field is looked at."""
    record = random_messages.message(record_pb2.Record.DESCRIPTOR, chance)
    if chance.random() < 0.95:
        record.record_id, record.machine_id = new_id(), MACHINE
        record.measured_at.Clear()
    content = record.SerializeToString()
    if chance.random() < 0.2:
        content = random_messages.damaged(content, chance)
    revision = chance.choice((1, 1, 1, 2, 99))
    return Arrival(spool_id, MACHINE, revision, sequence, content, received_at=1_800_000_000_000_000)


def run(folder: Path, *, records: int, seed: int) -> Tally:
    chance, tally = random.Random(seed), Tally()
    while tally.records < records:
        path = folder / f"{tally.records}.duckdb"
        with closing(Store(path)) as store:
            fill(store, min(STORE_RECORDS, records - tally.records), chance, tally)
            tally.rows_seen += rows_of_views(store)
        for file in folder.glob(f"{path.name}*"):
            file.unlink()
        gc.collect()
        tally.resident_last = resident_bytes(os.getpid())
        tally.resident_first = tally.resident_first or tally.resident_last
    return tally


def fill(store: Store, records: int, chance: Random, tally: Tally) -> None:
    spool_id, sequence = new_id(), 0
    while sequence < records:
        group = []
        for _ in range(min(GROUP_RECORDS, records - sequence)):
            sequence += 1
            group.append(arrival(sequence, spool_id, chance))
        refused = sum(bool(ingest.read(one).reason) for one in group)
        delivered = store.deliver(group).result()
        assert delivered.watermark >= group[-1].sequence, "the store stopped in the middle"
        tally.records += len(group)
        tally.rejected += len(delivered.rejections)
        tally.accepted += len(group) - len(delivered.rejections)
        assert len(delivered.rejections) >= refused, "what ingest refuses is a stored rejection"


def rows_of_views(store: Store) -> int:
    """Every value of every view, read as an analyst's answer is."""
    rows = 0
    with store.reader() as connection:
        for view in VIEWS:
            with connection.sql(f"SELECT * FROM v1.{view}").to_arrow_reader(2_048) as reader:
                rows += sum(batch.num_rows for batch in reader)
    return rows
