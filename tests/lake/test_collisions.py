"""What collides with another collector's commit is done anew, and nothing of the first try stays."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from llmenv.ids import new_id

from tests.lake.conftest import needs_lake
from tests.lake.records import Spool, answer, ledger
from tests.lake.test_exactly_once import PATIENCE, collectors

if TYPE_CHECKING:
    from pathlib import Path

    import duckdb
    import pytest
    from llmenv_collector.lake.place import Place

pytestmark = needs_lake
A_MOMENT = 0.7
"""Longer than a delivery takes that waits for nobody, and shorter than one waits for a lock."""


def test_a_group_that_a_fold_overtakes_is_done_anew(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that a group adds to were folded between its read and its commit; its agent notices nothing."""
    from llmenv_collector.lake.housekeeping import keep_house

    spool, tries = Spool(), []
    with collectors(place, tmp_path, 1) as (store,):
        for number in range(1, 4):
            store.deliver(spool.records([number])).result(PATIENCE)

        def fold(name: str, **_kind: object) -> None:
            if name == "collector.commit.before":
                tries.append(name)
                if len(tries) == 1:
                    assert keep_house(place) == []

        monkeypatch.setattr("llmenv.failpoints.reach", fold)
        assert store.deliver(spool.records([4])).result(PATIENCE).watermark == 4
        assert len(tries) == 2
        assert ledger(store) == (4, 4, 4)
        assert answer(store, "SELECT stored FROM store.delivery_day") == [(4,)]


def test_a_change_that_collides_is_made_anew(place: Place, tmp_path: Path) -> None:
    """Of all its statements, also those that did not collide."""
    machine_id, tries = new_id(), []

    def relabelling(value: str) -> str:
        return f"UPDATE store.machine_label SET value = value || '{value}'"

    with collectors(place, tmp_path, 2) as (one, other):

        def label(connection: duckdb.DuckDBPyConnection) -> None:
            for key in ("room", "team"):
                connection.execute("INSERT INTO store.machine_label VALUES (?, ?, '')", [machine_id, key])

        one.request(label).result(PATIENCE)

        def change(connection: duckdb.DuckDBPyConnection) -> None:
            tries.append("")
            connection.execute("INSERT INTO store.machine_name VALUES (?, 'studio')", [machine_id])
            connection.execute(relabelling("a"))
            if len(tries) == 1:
                other.request(lambda theirs: theirs.execute(relabelling("b")).fetchall()).result(PATIENCE)

        one.request(change).result(PATIENCE)
        assert len(tries) == 2
        assert answer(other, "SELECT value FROM store.machine_label") == [("ba",), ("ba",)]
        assert answer(other, "SELECT count(*) FROM store.machine_name") == [(1,)]


def test_what_removes_rows_is_not_overtaken_for_ever(place: Place, tmp_path: Path) -> None:
    """As long as others add rows to the table, DuckLake refuses whatever removes some: they wait for it."""
    spool, tries = Spool(), []
    with collectors(place, tmp_path, 2) as (one, other):
        one.deliver(spool.records([1])).result(PATIENCE)

        def remove(connection: duckdb.DuckDBPyConnection) -> None:
            connection.execute("DELETE FROM store.check_start")
            tries.append(other.deliver(spool.records([len(tries) + 2])))
            with suppress(TimeoutError):
                tries[-1].result(A_MOMENT)

        one.request(remove).result(PATIENCE)
        assert len(tries) > 1
        assert tries[-1].result(PATIENCE).watermark == len(tries) + 1
        assert answer(one, "SELECT count(*) < 3 FROM store.check_start") == [(True,)]
