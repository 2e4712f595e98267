"""One collector at a time keeps the lake small, and what readers see stays the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from llmenv_collector.delivery.sighting import Sighting

from tests.lake.conftest import needs_lake
from tests.lake.records import Spool, answer, ledger
from tests.lake.test_exactly_once import PATIENCE, collectors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmenv_collector.lake.place import Place

    from tests.lake.cluster import Cluster

pytestmark = needs_lake
STATE = """
SELECT (SELECT list(columns(*)::VARCHAR ORDER BY spool_id)::VARCHAR FROM store.watermark),
       (SELECT list((machine_id, day::VARCHAR, stored) ORDER BY machine_id)::VARCHAR FROM store.delivery_day),
       (SELECT list((machine_id, epoch_us(last_seen_at), agent_version) ORDER BY machine_id)::VARCHAR
        FROM store.machine_sighting)
""".replace(
    "list(columns(*)::VARCHAR ORDER BY spool_id)", "list((spool_id, sequence, stored) ORDER BY spool_id)"
)


def test_what_is_superseded_is_folded(place: Place, tmp_path: Path) -> None:
    """Many small commits become one file a table, while a collector goes on delivering."""
    from llmenv_collector.lake.housekeeping import keep_house

    spools = [Spool() for _ in range(3)]
    with collectors(place, tmp_path, 1) as (store,):
        for number in range(1, 6):
            for spool in spools:
                store.see(Sighting(spool.machine_id, seen_at=number, agent_version=f"0.{number}"))
                store.deliver(spool.records([number])).result(PATIENCE)
        before = answer(store, STATE)
        assert keep_house(place) == []
        assert answer(store, STATE) == before
        assert answer(store, "SELECT count(*) FROM lake.store.watermark") == [(3,)]
        assert answer(
            store, "SELECT count(*) FROM ducklake_list_files('lake', 'record', schema => 'store')"
        ) == [(1,)]
        assert store.deliver(spools[0].records(range(1, 9))).result(PATIENCE).watermark == 8
        assert ledger(store) == (18, 18, 18)


def test_one_is_elected_and_then_another(place: Place, cluster: Cluster) -> None:
    """The lock passes on when its holder withdraws, and when its connection is cut."""
    from llmenv_collector.lake.election import Election

    one = Election(place, ask_seconds=0.05)
    until(lambda: one.is_elected)
    other = Election(place, ask_seconds=0.05)
    try:
        time.sleep(0.3)
        assert not other.is_elected
        one.withdraw()
        until(lambda: other.is_elected)
        locks = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'"
        cluster.sql(locks, database=place.parameters()["dbname"])
        until(lambda: not other.is_elected or other._connection is not None)
        until(lambda: other.is_elected)
    finally:
        other.withdraw()
        one.withdraw()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)
