"""Locks that are not given in time: what goes on without them, and what says that it does not."""

from __future__ import annotations

from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from llmenv.ids import new_id
from llmenv_collector.errors import StoreError

from tests.lake.conftest import needs_lake
from tests.lake.records import Spool, ledger
from tests.lake.test_exactly_once import PATIENCE, collectors, opened

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from llmenv_collector.lake.place import Place

pytestmark = needs_lake


@contextmanager
def held(place: Place, lock: str, *keys: object) -> Iterator[None]:
    """By somebody who never gives it back of himself."""
    from llmenv_collector.lake.fence import connected

    with closing(connected(place)) as connection, connection.transaction():
        connection.execute(f"SELECT {lock}", keys)  # type: ignore[call-overload]  # any text
        yield


def test_a_collector_that_is_stuck_holds_nobody_up(place: Place, tmp_path: Path) -> None:
    """It keeps the lock of a machine, which now delivers to another one: stored once, after a short wait."""
    from llmenv_collector.lake.fence import lock_key

    spool = Spool()
    with collectors(place, tmp_path, 1) as (store,):
        assert store.deliver(spool.records([1])).result(PATIENCE).watermark == 1
        with held(place, "pg_advisory_lock(%s)", lock_key(spool.machine_id)):
            assert store.deliver(spool.records([1, 2, 3])).result(PATIENCE).watermark == 3
        assert store.deliver(spool.records([4])).result(PATIENCE).watermark == 4
        assert ledger(store) == (4, 4, 4)


def test_two_collectors_do_not_make_the_schema_at_once(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has waited long for it says what is to be done."""
    from llmenv_collector.lake import fence

    monkeypatch.setattr(fence, "SCHEMA_LOCK_SECONDS", 1)
    with (
        held(place, "pg_advisory_lock(%s)", fence.SCHEMA_LOCK),
        pytest.raises(StoreError, match="has been making the schema of the lake for 1 s: look at its log"),
    ):
        opened(place, tmp_path)


def test_a_commit_under_way_is_neither_there_nor_not(place: Place, tmp_path: Path) -> None:
    """PostgreSQL still waits for somebody who is gone: no answer is better than a wrong one."""
    from llmenv_collector.lake.fence import Fence

    mark = new_id()
    with collectors(place, tmp_path, 1), closing(Fence(place)) as fence:
        with (
            held(place, "pg_advisory_xact_lock(hashtextextended(%s, 0))", mark),
            pytest.raises(StoreError, match="nobody can say now whether it takes place"),
        ):
            fence.has(mark)
        assert not fence.has(mark)
