"""Copies of a database that is written: what they hold, what they leave alone, and what they share."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing
from typing import TYPE_CHECKING, Any

import duckdb
import pytest
from llmenv.ids import new_id
from llmenv_collector.snapshots import file_copy, snapshot
from llmenv_collector.snapshots.snapshot import Snapshots
from llmenv_collector.storage import migrate
from llmenv_collector.storage.store import Store

from .conftest import wait_until
from .test_store import spooled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PATIENCE_SECONDS = 120


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "llmenv.duckdb")
    yield opened
    opened.close()


def deliver(store: Store, count: int = 10) -> None:
    spool_id = new_id()
    arrivals = [spooled(spool_id, number, extra=b"x" * 2_000) for number in range(1, count + 1)]
    store.deliver(arrivals).result(timeout=PATIENCE_SECONDS)


def checkpoint(store: Store) -> None:
    store.try_again().result(timeout=PATIENCE_SECONDS)


def records(path: Path) -> int:
    with closing(duckdb.connect(str(path), read_only=True)) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM store.record").fetchall()
    return int(count)


def test_a_copy_holds_what_was_committed_and_nothing_later(store: Store, tmp_path: Path) -> None:
    """In the file or only in its log, and what is committed while it is used is in the next one."""

    async def counts() -> list[int]:
        snapshots, found = Snapshots(store, tmp_path / "snapshots"), []
        for _ in range(2):
            deliver(store)
            async with snapshots.lease() as first:
                deliver(store)
                checkpoint(store)
                first.keep_until = 0.0
                async with snapshots.lease() as second:
                    found += [records(first.path), records(second.path)]
                    second.keep_until = 0.0
        return found

    assert asyncio.run(counts()) == [10, 20, 30, 40]


def test_a_copy_serves_until_something_is_new(store: Store, tmp_path: Path) -> None:
    """Nothing is copied twice, and nothing is left."""
    folder = tmp_path / "snapshots"

    async def paths() -> list[Path]:
        snapshots, found = Snapshots(store, folder), []
        for is_new in (True, False, True):
            if is_new:
                deliver(store)
            async with snapshots.lease() as taken:
                found.append(taken.path)
                taken.keep_until = 0.0
        return found

    first, second, third = asyncio.run(paths())
    assert first == second != third
    assert {one.name for one in folder.iterdir()} == {"base.duckdb", third.parent.name}


def test_commits_do_not_wait_for_a_copy(store: Store) -> None:
    """While the file is left alone its log grows; checkpoints wait."""
    deliver(store)
    held = store.hold().result(timeout=PATIENCE_SECONDS)
    before = store.path.read_bytes()
    deliver(store, 100)
    checkpoint(store)
    assert store.path.read_bytes() == before
    assert store.log_bytes() > held.log_bytes
    store.release().result(timeout=PATIENCE_SECONDS)
    checkpoint(store)
    assert store.log_bytes() == 0


def test_a_refreshed_copy_is_the_file(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, after rows came, changed and went; blocks that are as they were are not copied."""
    copied = tmp_path / "copy.duckdb"
    deliver(store, 2_000)
    checkpoint(store)
    file_copy.copy(store.path, copied)
    lengths: list[int] = []
    transfer = file_copy.transfer
    monkeypatch.setattr(
        file_copy,
        "transfer",
        lambda *files, **part: (lengths.append(part["length"]), transfer(*files, **part)),
    )
    for change in (
        "DELETE FROM store.record WHERE sequence % 3 = 0",
        "CREATE TABLE more AS FROM range(300000)",
    ):
        store.request(lambda connection, change=change: connection.execute(change)).result(PATIENCE_SECONDS)
        deliver(store, 10)
        checkpoint(store)
        file_copy.refresh(store.path, copied)
        assert store.path.read_bytes() == copied.read_bytes()
    lengths.clear()
    file_copy.refresh(store.path, copied)
    assert lengths == [file_copy.HEADER_BYTES]


def test_a_whole_copy_is_one_file(store: Store, tmp_path: Path) -> None:
    """For a backup: what was in the log is in it, and nobody else has it."""

    async def taken() -> tuple[int, bool, int]:
        deliver(store)
        checkpoint(store)
        deliver(store)
        async with Snapshots(store, tmp_path / "snapshots").whole() as whole:
            path = whole.path
            return records(path), migrate.log_of(path).exists(), path.stat().st_nlink

    assert asyncio.run(taken()) == (20, False, 1)
    assert {one.name for one in (tmp_path / "snapshots").iterdir()} >= {"base.duckdb"}


def test_a_database_that_was_opened_anew_meanwhile_is_not_mixed_up(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fatal error the file changes whoever holds it: the copy is refused, the next one is whole."""
    copy = file_copy.copy

    def copy_and_fail(source: Path, target: Path) -> None:
        copy(source, target)
        store._database.reopen()

    async def count() -> int:
        snapshots = Snapshots(store, tmp_path / "snapshots")
        with monkeypatch.context() as patch:
            patch.setattr(file_copy, "copy", copy_and_fail)
            with pytest.raises(snapshot.StoreError, match="ask again"):
                async with snapshots.lease():
                    pass
        async with snapshots.lease() as taken:
            return records(taken.path)

    deliver(store)
    assert asyncio.run(count()) == 10


class Pausing:
    """A function that waits in its thread until it is let go, once."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self.begun = threading.Event()
        self.let_go = threading.Event()
        self.ended = threading.Event()

    def __call__(self, *arguments: Any) -> None:
        self.begun.set()
        assert self.let_go.wait(PATIENCE_SECONDS)
        self._function(*arguments)
        self.ended.set()


async def left(using: Any, *, at: threading.Event) -> None:
    """Somebody who is cancelled while a copy is made for them, when this is set."""

    async def use() -> None:
        async with using:
            pass

    task = asyncio.create_task(use())
    assert await asyncio.to_thread(at.wait, PATIENCE_SECONDS)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_copy_is_completed_when_nobody_waits_for_it_any_more(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the file is left alone; then checkpoints go on, and the copy is there for the next one."""
    pausing, folder = Pausing(file_copy.copy), tmp_path / "snapshots"
    monkeypatch.setattr(file_copy, "copy", pausing)

    async def abandon() -> None:
        snapshots = Snapshots(store, folder)
        await left(snapshots.lease(), at=pausing.begun)
        checkpoint(store)
        assert store.log_bytes() > 0
        pausing.let_go.set()
        async with snapshots.lease() as next_one:
            assert records(next_one.path) == 10
            assert {one.name for one in folder.iterdir()} == {"base.duckdb", next_one.path.parent.name}
        checkpoint(store)
        assert store.log_bytes() == 0
        next_one.keep_until = 0.0
        deliver(store)
        async with snapshots.lease() as last:
            assert records(last.path) == 20
        assert {one.name for one in folder.iterdir()} == {"base.duckdb", last.path.parent.name}

    deliver(store)
    asyncio.run(abandon())


def test_checkpoints_go_on_when_who_asked_for_a_copy_left_behind_a_commit(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is let go also where that had to wait for the writer."""
    is_asked, let_go, release = threading.Event(), threading.Event(), store.release

    def release_behind_another() -> Any:
        store.request(lambda _: let_go.wait(PATIENCE_SECONDS), is_change=False)
        done = release()
        is_asked.set()
        return done

    async def abandon() -> None:
        snapshots = Snapshots(store, tmp_path / "snapshots")
        await left(snapshots.lease(), at=is_asked)
        let_go.set()
        await asyncio.to_thread(checkpoint, store)

    deliver(store)
    monkeypatch.setattr(store, "release", release_behind_another)
    asyncio.run(abandon())
    assert store.log_bytes() == 0


def test_a_whole_copy_that_nobody_waits_for_is_not_left(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes as much of the disk as the database."""
    pausing, folder = Pausing(snapshot.copy_whole), tmp_path / "snapshots"
    monkeypatch.setattr(snapshot, "copy_whole", pausing)

    async def abandon() -> None:
        snapshots = Snapshots(store, folder)
        await left(snapshots.whole(), at=pausing.begun)
        pausing.let_go.set()
        assert await asyncio.to_thread(pausing.ended.wait, PATIENCE_SECONDS)
        await asyncio.to_thread(wait_until, lambda: len(list(folder.iterdir())) == 2)

    deliver(store)
    asyncio.run(abandon())
