"""The database is written anew without free room, beside deliveries, and nothing is lost."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest
from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id
from llmenv_collector.compaction.compact_copy import CompactCopy
from llmenv_collector.compaction.upkeep import Compaction
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.errors import StoreError
from llmenv_collector.identity import forgetting
from llmenv_collector.storage import inspection
from llmenv_collector.storage.store import Store

from .conftest import run_command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECORDS = 400
LOG_BYTES = 2_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "llmenv.duckdb")
    yield opened
    opened.close()


class Machine:
    """Delivers results straight to the store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.machine_id, self.spool_id, self.sequence = new_id(), new_id(), 0

    def deliver(self, records: int) -> Any:
        arrivals = []
        for _ in range(records):
            self.sequence += 1
            record = record_pb2.Record(record_id=new_id(), machine_id=self.machine_id)
            record.check_finished.run_id = new_id()
            result = record.check_finished.result
            result.result_id, result.check_name = new_id(), "torch_basics"
            # Which does not compress, so that there are blocks to free.
            result.log_tail = "".join(new_id() for _ in range(LOG_BYTES // 36))
            arrivals.append(
                Arrival(self.spool_id, self.machine_id, 1, self.sequence, record.SerializeToString(), 1)
            )
        return self.store.deliver(arrivals)


def with_free_room(store: Store) -> Machine:
    """Before what a machine delivered there was something else, which is gone."""
    text = "CREATE TABLE hole AS SELECT uuid()::VARCHAR AS text FROM range(100_000)"
    store.request(lambda connection: connection.execute(text)).result()
    store.try_again().result()
    machine = Machine(store)
    machine.deliver(RECORDS).result()
    store.try_again().result()
    store.request(lambda connection: connection.execute("DROP TABLE hole")).result()
    store.try_again().result()
    return machine


def compacted(store: Store) -> bool:
    return asyncio.run(Compaction(store, percent=30, least_free_bytes=1).round())


def contents(store: Store) -> Any:
    with store.reader() as connection:
        tables = connection.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = 'store' ORDER BY ALL"
        ).fetchall()
        return {
            table: connection.execute(
                f"SELECT count(*), bit_xor(hash(row)) FROM store.{table} AS row"
            ).fetchall()
            for (table,) in tables
        }


def test_a_file_becomes_as_large_as_what_is_in_it(store: Store) -> None:
    """With the same rows, and it is delivered to and read as before."""
    machine = with_free_room(store)
    before, size = contents(store), store.path.stat().st_size
    assert compacted(store)
    assert contents(store) == before
    assert store.path.stat().st_size < 0.7 * size
    assert machine.deliver(10).result().watermark == RECORDS + 10
    assert not compacted(store)
    store.close()
    assert inspection.inspect(store.path).records == RECORDS + 10


def test_what_comes_while_the_copy_is_made_is_in_it(store: Store) -> None:
    """Added rows follow, and small tables are copied again."""
    machine = with_free_room(store)
    store.hold().result()
    copy = CompactCopy(store.path.with_name("copy.duckdb"))
    with store.reader() as source:
        copy.fill(source)
    machine.deliver(100).result()
    before = contents(store)
    assert store.exchange(copy).result()
    store.release().result()
    assert contents(store) == before
    assert machine.deliver(1).result().watermark == RECORDS + 101


def test_a_copy_that_has_what_was_removed_is_not_taken(store: Store) -> None:
    """A machine that is forgotten meanwhile stays forgotten."""
    machine = with_free_room(store)
    store.hold().result()
    copy = CompactCopy(store.path.with_name("copy.duckdb"))
    with store.reader() as source:
        copy.fill(source)
    store.request(lambda connection: forgetting.forget(connection, [machine.machine_id])).result()
    before = contents(store)
    assert not store.exchange(copy).result()
    store.release().result()
    assert contents(store) == before


def test_a_copy_waits_while_somebody_else_holds_the_file(store: Store) -> None:
    """A backup that is being copied is not pulled away."""
    with_free_room(store)
    store.hold().result()
    before = store.path.stat().st_ino
    assert not compacted(store)
    assert store.path.stat().st_ino == before
    store.release().result()
    assert compacted(store)


def test_a_long_reader_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deliveries go on, and the next round tries again."""
    monkeypatch.setattr("llmenv_collector.storage.database.EXCHANGE_SECONDS", 0.01)
    machine = with_free_room(store)
    with store.reader() as connection:
        assert not compacted(store)
        assert connection.execute("SELECT count(*) FROM store.result").fetchall() == [(RECORDS,)]
    assert machine.deliver(1).result().watermark == RECORDS + 1
    assert compacted(store)


def test_a_cursor_that_was_left_open_does_not_keep_the_former_file(store: Store) -> None:
    """DuckDB gives back a database that is open already: what is stored then would be in no file."""
    machine = with_free_room(store)
    cursor = store.request(lambda connection: connection.cursor(), is_change=False).result()
    assert compacted(store)
    assert machine.deliver(1).result().watermark == RECORDS + 1
    store.close()
    assert inspection.inspect(store.path).records == RECORDS + 1
    cursor.close()


def test_a_file_that_cannot_be_put_in_place_costs_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is open at that moment: the former file is opened anew, and deliveries go on."""
    machine, before = with_free_room(store), contents(store)

    def refuse(_copy: Path, _place: Path) -> None:
        raise OSError("Too many open files")

    monkeypatch.setattr("llmenv_collector.storage.database.put_in_place", refuse)
    with pytest.raises(StoreError, match="Too many open files"):
        compacted(store)
    assert contents(store) == before
    assert machine.deliver(1).result().watermark == machine.sequence
    monkeypatch.undo()
    assert compacted(store)


def test_what_a_killed_collector_left_of_a_copy_is_removed(store: Store) -> None:
    """It may be as large as the database."""
    left = store.path.with_name("llmenv.duckdb.compact")
    left.write_bytes(b"half a copy")
    Compaction(store, percent=30)
    assert not left.exists()


def test_the_command_compacts_what_nobody_serves(tmp_path: Path) -> None:
    """And says how large it was and is."""
    folder = tmp_path / "data"
    run_command("init", "--data", str(folder))
    store = Store(folder / "llmenv.duckdb")
    with_free_room(store)
    before = contents(store)
    store.close()
    done = run_command("compact", "--data", str(folder))
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[\d.]+ MB before, [\d.]+ MB now\.\n", done.stderr)
    store = Store(folder / "llmenv.duckdb")
    assert contents(store) == before
    store.close()
