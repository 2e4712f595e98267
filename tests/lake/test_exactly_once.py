"""Several collectors on one lake: whatever is cut, killed or late, each record is stored once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import duckdb
import pytest
from llmenv.ids import new_id
from llmenv_collector.errors import StoreError
from llmenv_collector.storage.store import Store

from tests.lake.conftest import needs_lake
from tests.lake.records import Spool, answer, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_collector.lake.place import Place

    from tests.lake.cluster import Cluster

pytestmark = needs_lake
PATIENCE = 120


def opened(place: Place, tmp_path: Path) -> Store:
    from llmenv_collector.lake.database import LakeDatabase

    path = tmp_path / "llmenv.duckdb"
    return Store(path, lake=LakeDatabase(place, path=path))


@contextmanager
def collectors(place: Place, tmp_path: Path, count: int) -> Iterator[list[Store]]:
    with ExitStack() as stack:
        stores = []
        for _ in range(count):
            store = opened(place, tmp_path)
            stack.callback(store.close)
            stores.append(store)
        yield stores


def test_an_agent_moves_between_collectors(place: Place, tmp_path: Path) -> None:
    """Each collector knows what the other one stored, and drops what it has heard before."""
    spool = Spool()
    with collectors(place, tmp_path, 2) as (one, other):
        assert one.deliver(spool.records(range(1, 4))).result(PATIENCE).watermark == 3
        state = other.spool_state(spool.spool_id).result(PATIENCE)
        assert state.watermark is not None
        assert state.watermark.sequence == 3
        assert other.deliver(spool.records(range(2, 8))).result(PATIENCE).watermark == 7
        assert one.deliver(spool.records(range(1, 8))).result(PATIENCE).watermark == 7
        assert ledger(one) == ledger(other) == (7, 7, 7)
        assert answer(one, "SELECT stored, rejected FROM store.delivery_day") == [(7, 0)]


def test_a_jump_is_refused_from_where_the_lake_is(place: Place, tmp_path: Path) -> None:
    spool = Spool()
    with collectors(place, tmp_path, 2) as (one, other):
        one.deliver(spool.records(range(1, 4))).result(PATIENCE)
        delivered = other.deliver(spool.records(range(6, 8))).result(PATIENCE)
        assert delivered.watermark == 3
        assert "does not follow 3" in delivered.jump
        assert ledger(other) == (3, 3, 3)


def test_the_same_records_at_four_collectors_at_once(place: Place, tmp_path: Path) -> None:
    """Each spool is delivered to all of them at the same time, in pieces that overlap."""
    spools = [Spool() for _ in range(3)]
    with collectors(place, tmp_path, 4) as stores, ThreadPoolExecutor(12) as threads:

        def deliver(store: Store, spool: Spool) -> int:
            marks = [
                store.deliver(spool.records(range(first, first + 8))).result(PATIENCE).watermark
                for first in (1, 5, 9)
            ]
            return marks[-1]

        marks = threads.map(lambda pair: deliver(*pair), [(a, b) for a in stores for b in spools])
        assert max(marks) == 16
        for spool in spools:
            assert stores[0].deliver(spool.records(range(9, 17))).result(PATIENCE).watermark == 16
        assert ledger(stores[3]) == (48, 48, 48)


def test_the_lock_connection_is_cut_between_read_and_commit(
    place: Place, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that lost it commits nothing of what another one stored meanwhile, and drops it as heard."""
    spool = Spool()
    with collectors(place, tmp_path, 2) as (late, fast):
        assert late.deliver(spool.records(range(1, 3))).result(PATIENCE).watermark == 2
        reached, go_on = threading.Event(), threading.Event()

        def wait(name: str, **_kind: object) -> None:
            if name == "collector.commit.before" and threading.current_thread() is late._thread:
                reached.set()
                go_on.wait(PATIENCE)

        monkeypatch.setattr("llmenv.failpoints.reach", wait)
        held = late.deliver(spool.records(range(3, 6)))
        assert reached.wait(PATIENCE)
        database = place.parameters()["dbname"]
        locks = "SELECT count(pg_terminate_backend(pid)) FROM pg_locks WHERE locktype = 'advisory'"
        assert cluster.sql(locks, database=database) == "1"
        assert fast.deliver(spool.records(range(3, 9))).result(PATIENCE).watermark == 8
        go_on.set()
        assert held.result(PATIENCE).watermark == 8
        assert ledger(late) == ledger(fast) == (8, 8, 8)
        assert answer(fast, "SELECT stored FROM store.delivery_day") == [(8,)]


def test_whoever_is_late_waits_for_the_lock(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two collectors with records of one machine commit one after the other, and neither does it twice."""
    spool = Spool()
    with collectors(place, tmp_path, 2) as (one, other):
        one.deliver(spool.records([1])).result(PATIENCE)
        reached, go_on = threading.Event(), threading.Event()

        def wait(name: str, **_kind: object) -> None:
            if name == "collector.commit.before" and threading.current_thread() is one._thread:
                reached.set()
                go_on.wait(PATIENCE)

        monkeypatch.setattr("llmenv.failpoints.reach", wait)
        first = one.deliver(spool.records([2]))
        assert reached.wait(PATIENCE)
        second = other.deliver(spool.records([2, 3]))
        assert not second.done()
        go_on.set()
        assert (first.result(PATIENCE).watermark, second.result(PATIENCE).watermark) == (2, 3)
        assert ledger(other) == (3, 3, 3)


def test_postgres_crashes_between_read_and_commit(
    place: Place, tmp_path: Path, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is acknowledged and nothing is there; the same records are stored once when it is back."""
    spool = Spool()
    with collectors(place, tmp_path, 1) as (store,):
        store.deliver(spool.records(range(1, 3))).result(PATIENCE)
        try:
            with monkeypatch.context() as patch:
                patch.setattr("llmenv.failpoints.reach", lambda name, **_kind: stop_once(name, cluster))
                with pytest.raises(StoreError):
                    store.deliver(spool.records(range(3, 6))).result(PATIENCE)
            with pytest.raises(StoreError):
                store.deliver(spool.records(range(3, 6))).result(PATIENCE)
        finally:
            cluster.restart()
        assert store.deliver(spool.records(range(3, 6))).result(PATIENCE).watermark == 5
        assert ledger(store) == (5, 5, 5)


def stop_once(name: str, cluster: Cluster) -> None:
    if name == "collector.commit.before":
        cluster.stop()


def test_an_answer_that_is_lost_after_the_commit_costs_nothing(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The commit is there although its connection broke: it is found by its claim, and acknowledged."""
    from llmenv_collector.lake import writing

    spool = Spool()
    with collectors(place, tmp_path, 1) as (store,):
        original = writing.committed

        def lost(connection: duckdb.DuckDBPyConnection) -> None:
            original(connection)
            raise duckdb.IOException("the connection is closed")

        monkeypatch.setattr(writing, "committed", lost)
        assert store.deliver(spool.records(range(1, 4))).result(PATIENCE).watermark == 3
        assert ledger(store) == (3, 3, 3)


def test_two_copies_of_a_spool_take_turns(place: Place, tmp_path: Path) -> None:
    """The fence refuses a group of a machine that something else was stored of, in another spool."""
    from llmenv_collector.delivery.watermark import Watermark
    from llmenv_collector.lake.fence import Claim, Fence

    spool = Spool()
    with collectors(place, tmp_path, 1) as (store,):
        store.deliver(spool.records([1])).result(PATIENCE)
        fence = Fence(place)
        copy = Watermark(new_id(), spool.machine_id, 1, first_received_at=1, last_received_at=1)
        assert not fence.has_overtaken(Claim.of({}, [copy], {spool.machine_id: 1}))
        assert fence.has_overtaken(Claim.of({}, [copy], {}))
        fence.close()


def test_a_catalog_without_its_fence_stores_nothing(place: Place, tmp_path: Path, cluster: Cluster) -> None:
    """Somebody dropped the trigger: what would not be exactly-once is refused until it is laid again."""
    spool, database = Spool(), place.parameters()["dbname"]
    with collectors(place, tmp_path, 1) as (store,):
        store.deliver(spool.records([1])).result(PATIENCE)
        cluster.sql("DROP TRIGGER llmenv_advance ON ducklake_snapshot_changes", database=database)
        with pytest.raises(StoreError, match="lost its fence"):
            store.deliver(spool.records([2])).result(PATIENCE)
    with collectors(place, tmp_path, 1) as (store,):
        assert store.deliver(spool.records([2])).result(PATIENCE).watermark == 2
        assert ledger(store) == (2, 2, 2)


@pytest.mark.parametrize(
    "name",
    ["a\x00b", 'it\'s \\ "quoted"\n', "\U0001f600", "\uffff"],
    ids=["nul", "quotes", "emoji", "noncharacter"],
)
def test_any_text_can_be_stored(place: Place, tmp_path: Path, name: str) -> None:
    """PostgreSQL takes no NUL in a text; what agents say goes to Parquet alone."""
    spool = Spool()
    started = {"run_id": new_id(), "result_id": new_id(), "check_name": name}
    with collectors(place, tmp_path, 1) as (store,):
        delivered = store.deliver([spool.record(1, check_started=started)]).result(PATIENCE)
        assert (delivered.watermark, delivered.rejections) == (1, ())
        assert answer(store, "SELECT check_name FROM store.check_start") == [(name,)]


def test_a_rejection_is_repeated_by_every_collector_until_it_is_confirmed(
    place: Place, tmp_path: Path
) -> None:
    spool = Spool()
    other = Spool()
    with collectors(place, tmp_path, 2) as (one, another):
        foreign = other.record(1)
        arrival = type(foreign)(
            spool.spool_id, spool.machine_id, 1, 1, foreign.record, received_at=foreign.received_at
        )
        assert len(one.deliver([arrival]).result(PATIENCE).rejections) == 1
        assert len(another.spool_state(spool.spool_id).result(PATIENCE).rejections) == 1
        another.confirm_rejection(spool.spool_id, 1).result(PATIENCE)
        assert one.spool_state(spool.spool_id).result(PATIENCE).rejections == ()
        assert answer(one, "SELECT sequence::INT, stored::INT, rejected::INT FROM store.watermark") == [
            (1, 0, 1)
        ]
