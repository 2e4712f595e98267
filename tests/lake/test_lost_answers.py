"""PostgreSQL's connection is cut in the middle of a commit: what is named by the lake is there, once."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from llmenv.ids import new_id
from llmenv_collector.errors import StoreError

from tests.lake.conftest import needs_lake
from tests.lake.losing import AFTER, BEFORE, Losing
from tests.lake.records import Spool, answer, ledger
from tests.lake.test_bucket import bucket  # noqa: F401 (a fixture)
from tests.lake.test_exactly_once import PATIENCE, collectors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import duckdb
    from llmenv_collector.lake.place import Place
    from llmenv_collector.storage.store import Store

    from tests.lake.cluster import Cluster

pytestmark = needs_lake


@pytest.fixture
def losing(cluster: Cluster) -> Iterator[Losing]:
    with closing(Losing(cluster.folder / ".s.PGSQL.5432")) as one:
        yield one


def through(losing: Losing, place: Place) -> Place:
    """The same lake, whose catalog is reached through what loses answers."""
    named = {**place.parameters(), "host": "127.0.0.1", "port": str(losing.port)}
    return replace(place, catalog=" ".join(f"{name}={value}" for name, value in named.items()))


def require_all_files(place: Place, store: Store) -> None:
    """Every table can be read to its last row."""
    tables = answer(store, "SELECT table_name FROM duckdb_tables() WHERE database_name = 'lake'")
    for (table,) in tables:
        answer(store, f"SELECT count(hash(t)) FROM lake.store.{table} AS t")


def test_an_answer_lost_in_a_delivery(place: Place, losing: Losing, tmp_path: Path) -> None:
    """DuckLake takes it for a failure and removes its files: they stay, and the group is acknowledged."""
    spool = Spool()
    with collectors(through(losing, place), tmp_path, 1) as (store,):
        assert store.deliver(spool.records([1])).result(PATIENCE).watermark == 1
        losing.lose(AFTER)
        assert store.deliver(spool.records([2, 3])).result(PATIENCE).watermark == 3
        losing.lost()
        require_all_files(place, store)
        assert ledger(store) == (3, 3, 3)


def test_a_delivery_that_never_reached_postgres(place: Place, losing: Losing, tmp_path: Path) -> None:
    """It is not acknowledged, and stored once when it is sent again."""
    spool = Spool()
    with collectors(through(losing, place), tmp_path, 1) as (store,):
        assert store.deliver(spool.records([1])).result(PATIENCE).watermark == 1
        losing.lose(BEFORE)
        with pytest.raises(StoreError):
            store.deliver(spool.records([2, 3])).result(PATIENCE)
        losing.lost()
        assert ledger(store) == (1, 1, 1)
        assert store.deliver(spool.records([2, 3])).result(PATIENCE).watermark == 3
        require_all_files(place, store)
        assert ledger(store) == (3, 3, 3)


@pytest.mark.parametrize(("moment", "rows"), [(BEFORE, 0), (AFTER, 1)])
def test_a_change_is_never_made_twice(
    place: Place, losing: Losing, tmp_path: Path, moment: str, rows: int
) -> None:
    """What people change is done once and said to be done, or not done and said not to be."""
    made = []

    def label(connection: duckdb.DuckDBPyConnection) -> None:
        made.append(new_id())
        connection.execute("INSERT INTO store.machine_label VALUES (?, 'room', ?)", [new_id(), made[-1]])

    with collectors(through(losing, place), tmp_path, 1) as (store,):
        losing.lose(moment)
        error = store.request(label).exception(PATIENCE)
        losing.lost()
        assert (error is None, len(made)) == (bool(rows), 1)
        require_all_files(place, store)
        assert answer(store, "SELECT count(*) FROM store.machine_label") == [(rows,)]


def test_an_answer_lost_in_a_compaction(place: Place, losing: Losing, tmp_path: Path) -> None:
    """The large file that took the place of small ones is there."""
    from llmenv_collector.lake.housekeeping import keep_house

    spool = Spool()
    with collectors(place, tmp_path, 1) as (store,):
        for number in range(1, 4):
            store.deliver(spool.records([number])).result(PATIENCE)
        losing.lose(AFTER)
        assert keep_house(through(losing, place)) == []
        losing.lost()
        assert keep_house(place) == []
        require_all_files(place, store)
        assert ledger(store) == (3, 3, 3)


def test_an_answer_lost_with_files_in_a_bucket(
    bucket: Place,  # noqa: F811 (a fixture)
    losing: Losing,
    tmp_path: Path,
) -> None:
    spool = Spool()
    with collectors(through(losing, bucket), tmp_path, 1) as (store,):
        assert store.deliver(spool.records([1])).result(PATIENCE).watermark == 1
        losing.lose(AFTER)
        assert store.deliver(spool.records([2, 3])).result(PATIENCE).watermark == 3
        losing.lost()
        require_all_files(bucket, store)
        assert store.deliver(spool.records([4])).result(PATIENCE).watermark == 4
        assert ledger(store) == (4, 4, 4)
