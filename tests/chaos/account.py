"""Every record that was ever minted is in the store once, in its order, byte for byte, or has its reason.

What the agent minted is read from its spool, what the collector stored from a copy of its files as they are
on the disk, and both are compared with the ledger that people are shown.
"""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import duckdb
from llmenv.fleet.v1 import record_pb2

from tests.chaos import asking
from tests.chaos.promise import require

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv.fleet.v1.fleet_service_pb2 import SpoolDelivery

    from tests.chaos.world import World


@dataclass(frozen=True)
class Spooled:
    sequence: int
    record_id: str
    content: bytes
    covers: int
    """Sequences of a tombstone; 0 for a record."""


def check_acknowledged(world: World) -> None:
    """What a dead collector acknowledged is in its files. Raises UnexplainedError.

    Asked before it is started: at the next Welcome the agent sends again what is missing, and a broken
    promise is mended.
    """
    store = duckdb.connect(str(world.copy_database(world.folder / "copy")))
    try:
        marks = dict(_rows(store, "SELECT spool_id::VARCHAR, sequence FROM store.watermark"))
    finally:
        store.close()
    # Read last: the files stand still, and an acknowledgement on its way may still arrive.
    with contextlib.closing(sqlite3.connect(world.spool)) as spool:
        ((spool_id, heard),) = spool.execute("SELECT spool_id, watermark FROM spool").fetchall()
    held = marks.get(spool_id, 0)
    require(heard <= held, f"{heard} records of {spool_id} were acknowledged, {held} are in the files")


@dataclass
class Account:
    """What is known over all rounds: records may leave the spool, but never the account."""

    minted: dict[str, None] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    totals: Counter[str] = field(default_factory=Counter)

    def check(self, world: World) -> None:
        """Raises UnexplainedError."""
        spool_id, spooled, refused = read_spool(world.spool)
        self.refused |= refused
        self.minted.update(dict.fromkeys(one.record_id for one in spooled if not one.covers))
        store = duckdb.connect(str(world.copy_database(world.folder / "copy")))
        try:
            self._check_once(store)
            check_spool(store, spool_id, spooled)
            asking.check(store)
        finally:
            store.close()
        self._check_ledger(world, spool_id, spooled)

    def _check_once(self, store: duckdb.DuckDBPyConnection) -> None:
        stored = Counter(
            dict(_rows(store, "SELECT record_id::VARCHAR, count(*) FROM store.record GROUP BY 1"))
        )
        rejected = {one for (one,) in _rows(store, "SELECT DISTINCT record_id FROM store.rejection")}
        twice = [record_id for record_id, count in stored.items() if count > 1]
        require(not twice, f"stored twice: {twice[:5]}")
        lost = [one for one in self.minted if one not in stored and one not in rejected]
        require(not lost, f"{len(lost)} minted and never stored: {lost[:5]}")
        strange = [one for one in stored if one not in self.minted]
        require(not strange, f"stored and never minted: {strange[:5]}")
        require(self.refused <= rejected, f"dead letters without a rejection: {self.refused - rejected}")
        for table, key in (("run_end", "run_id"), ("run", "run_id"), ("result", "result_id")):
            count, distinct = _rows(store, f"SELECT count(*), count(DISTINCT {key}) FROM store.{table}")[0]
            require(count == distinct, f"{count - distinct} rows of {table} are there twice")

    def _check_ledger(self, world: World, spool_id: str, spooled: list[Spooled]) -> None:
        spools = world.ledger().spools
        for one in spools:
            require(
                one.unexplained == 0, f"the ledger has {one.unexplained} unexplained: {list(one.reasons)}"
            )
            parts = one.stored + one.rejected + one.waiting + one.dropped + one.lost_by_restore
            require(one.minted == parts, f"the ledger of {one.spool_id} does not add up")
        current = next((one for one in spools if one.spool_id == spool_id), None)
        last = spooled[-1].sequence if spooled else 0
        require(current is not None or not last, f"the ledger does not know the spool {spool_id}")
        if current is not None:
            require(current.minted == last, f"the ledger has {current.minted} minted, the spool {last}")
            require(current.waiting == 0, f"{current.waiting} wait although all was acknowledged")
        self.totals = totals_of(list(spools))


def check_spool(store: duckdb.DuckDBPyConnection, spool_id: str, spooled: list[Spooled]) -> None:
    """Each sequence of the spool is accounted for under its own number, and the chain is the same."""
    query = """
        SELECT sequence, record_id::VARCHAR FROM store.record WHERE spool_id = $1
        UNION ALL SELECT sequence, record_id FROM store.rejection WHERE spool_id = $1
        UNION ALL SELECT last_sequence, record_id::VARCHAR FROM store.tombstone WHERE spool_id = $1
        ORDER BY ALL
    """
    here = dict(_rows(store, query, spool_id))
    known = {
        one
        for (one,) in _rows(
            store, "SELECT record_id::VARCHAR FROM store.record WHERE spool_id <> $1", spool_id
        )
    }
    for one in spooled:
        if one.record_id not in known:
            found = here.get(one.sequence)
            require(
                found == one.record_id,
                f"sequence {one.sequence} is {one.record_id} in the spool, {found} in the store",
            )
    ours = {one.sequence: one.record_id for one in spooled}
    lowest = min(ours, default=0)
    strange = [number for number in here if number >= lowest and number not in ours]
    require(not strange, f"sequences in the store that the spool does not have: {strange[:5]}")
    if spooled and spooled[0].sequence == max(spooled[0].covers, 1):
        (digest,) = _rows(store, "SELECT digest FROM store.watermark WHERE spool_id = $1", spool_id)[0]
        require(digest == chained(spooled), "the chain of the store is not the chain of the spool")


def read_spool(path: Path) -> tuple[str, list[Spooled], set[str]]:
    """Its id, what it holds, and the ids of its dead letters."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        ((spool_id,),) = connection.execute("SELECT spool_id FROM spool").fetchall()
        rows = connection.execute("SELECT sequence, record, dropped FROM record ORDER BY sequence").fetchall()
        letters = {one for (one,) in connection.execute("SELECT record_id FROM dead_letter")}
    spooled = [
        Spooled(sequence, record_pb2.Record.FromString(content).record_id, content, covers)
        for sequence, content, covers in rows
    ]
    return spool_id, spooled, letters


def chained(spooled: list[Spooled]) -> bytes:
    digest = bytes(32)
    for one in spooled:
        digest = hashlib.sha256(digest + one.content).digest()
    return digest


def totals_of(spools: list[SpoolDelivery]) -> Counter[str]:
    names = ("minted", "stored", "rejected", "waiting", "dropped", "lost_by_restore", "unexplained")
    return Counter({name: sum(int(getattr(one, name)) for one in spools) for name in names})


def _rows(store: duckdb.DuckDBPyConnection, query: str, *values: str) -> list[tuple[Any, ...]]:
    return list(store.execute(query, list(values)).fetchall())
