"""The store on a real DuckDB file: exactly once, poison alone, raw records after an upgrade."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv.fleet.v1 import record_pb2
from llmenv.ids import new_id
from llmenv_collector.delivery import reingest
from llmenv_collector.delivery.group import GroupWriter
from llmenv_collector.delivery.ingest import Arrival
from llmenv_collector.delivery.watermark import read_watermarks
from llmenv_collector.errors import StoreError
from llmenv_collector.identity.forgetting import forget
from llmenv_collector.storage import migrate
from llmenv_collector.storage.migrate import Migration
from llmenv_collector.storage.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MACHINE = new_id()
RAW_ROWS = """
INSERT INTO store.record_raw BY NAME
SELECT uuid() AS record_id, uuid() AS spool_id, range AS sequence, $1::UUID AS machine_id,
       1 AS protocol_revision, repeat(md5(range::VARCHAR), $3 // 32)::BLOB AS record, now() AS received_at
FROM range($2)
"""


def spooled(spool_id: str, sequence: int, *, revision: int = 1, extra: bytes = b"", **kind: Any) -> Arrival:
    if not kind:
        kind = {"check_started": {"run_id": new_id(), "result_id": new_id(), "check_name": "torch_basics"}}
    record = record_pb2.Record(record_id=new_id(), machine_id=MACHINE, **kind).SerializeToString() + extra
    return Arrival(spool_id, MACHINE, revision, sequence, record, received_at=sequence)


def rows(store: Store, query: str) -> list[tuple[Any, ...]]:
    with store.reader() as connection:
        return connection.execute(query).fetchall()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path / "llmenv.duckdb")
    yield opened
    opened.close()


def test_a_poison_record_is_found_by_halving(tmp_path: Path) -> None:
    """DuckDB itself refuses one record of a group: that one is rejected, the others are stored."""
    path, spool_id = tmp_path / "llmenv.duckdb", new_id()
    connection = migrate.connect(path)
    migrate.migrate(connection)
    definition = connection.execute(
        "SELECT sql FROM duckdb_tables() WHERE table_name = 'check_start'"
    ).fetchall()[0][0]
    connection.execute("DROP TABLE store.check_start")
    connection.execute(
        definition.replace("check_name VARCHAR NOT NULL", "check_name VARCHAR CHECK (check_name <> 'poison')")
    )
    connection.close()
    store = Store(path)
    group = [spooled(spool_id, number) for number in range(1, 12)]
    poison = {"run_id": new_id(), "result_id": new_id(), "check_name": "poison"}
    group[6] = spooled(spool_id, 7, check_started=poison)
    delivered = store.deliver(group).result()
    assert (delivered.watermark, [one.sequence for one in delivered.rejections]) == (11, [7])
    assert rows(store, "SELECT count(*) FROM store.record") == [(10,)]
    assert rows(store, "SELECT sequence, stored, rejected, dropped FROM store.watermark") == [(11, 10, 1, 0)]
    store.close()


def test_a_failing_store_acknowledges_nothing_and_rejects_nothing(store: Store) -> None:
    """A table that is gone is a fault of the store, not of the record."""
    store.request(lambda connection: connection.execute("DROP TABLE store.check_start")).result()
    with pytest.raises(StoreError):
        store.deliver([spooled(new_id(), 1)]).result()
    assert rows(
        store, "SELECT (SELECT count(*) FROM store.watermark), (SELECT count(*) FROM store.rejection)"
    ) == [(0, 0)]


def test_raw_records_are_ingested_after_the_upgrade(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that speaks the revision reads them again; they stay stored once."""
    path, spool_id = tmp_path / "llmenv.duckdb", new_id()
    store = Store(path)
    unknown = (
        record_pb2.Record(record_id=new_id(), machine_id=MACHINE).SerializeToString() + b"\xfa\x06\x03abc"
    )
    newer = [spooled(spool_id, 1, revision=2), Arrival(spool_id, MACHINE, 1, 2, unknown, received_at=2)]
    assert store.deliver(newer).result().watermark == 2
    assert rows(store, "SELECT count(*) FROM store.record_raw") == [(2,)]
    store.close()
    monkeypatch.setattr("llmenv_collector.delivery.ingest.PROTOCOL_REVISION", 2)
    upgraded = Store(path)
    assert upgraded.reingested == 1
    assert rows(upgraded, "SELECT sequence FROM store.record_raw") == [(2,)]
    assert rows(upgraded, "SELECT count(*), count(DISTINCT record_id) FROM store.record") == [(2, 2)]
    assert rows(upgraded, "SELECT count(*) FROM store.check_start") == [(1,)]
    upgraded.close()


def test_many_raw_records_are_read_a_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than DuckDB may have memory for, in the order in which they came, while they are replaced."""
    path, records, size = tmp_path / "llmenv.duckdb", 30_000, 4_000
    store = Store(path)
    store.request(lambda connection: connection.execute(RAW_ROWS, [MACHINE, records, size])).result()
    store.close()
    monkeypatch.setattr("llmenv_collector.storage.migrate.MEMORY_LIMIT", "64MiB")
    connection = migrate.connect(path)
    connection.execute("SET threads = 1")  # each takes memory, and machines have any number
    groups = []
    for group in reingest.raw_arrivals(connection):
        groups.append([one.sequence for one in group])
        connection.execute("DELETE FROM store.record_raw WHERE list_contains(?, sequence)", [groups[-1]])
    connection.close()
    assert max(map(len, groups)) == reingest.AT_ONCE
    assert [sequence for group in groups for sequence in group] == list(range(records))


def test_a_copied_record_id_touches_no_other_machines_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends a raw record under another machine's record id replaces only rows of its own."""
    path, theirs = tmp_path / "llmenv.duckdb", spooled(new_id(), 1)
    copied = theirs._replace(
        spool_id=new_id(),
        machine_id=(other := new_id()),
        record=theirs.record.replace(MACHINE.encode(), other.encode()),
        protocol_revision=2,
    )
    store = Store(path)
    for one in (theirs, copied):
        assert store.deliver([one]).result().rejections == ()
    store.close()
    monkeypatch.setattr("llmenv_collector.delivery.ingest.PROTOCOL_REVISION", 2)
    upgraded = Store(path)
    assert upgraded.reingested == 1
    assert {(MACHINE,), (other,)} == set(rows(upgraded, "SELECT machine_id::VARCHAR FROM store.check_start"))
    upgraded.close()


def test_two_copies_of_a_spool_in_one_group_store_a_record_once(store: Store) -> None:
    """Both forks may bring what neither knew to be delivered, in the same transaction."""
    shared = spooled(new_id(), 2)
    group = []
    for spool_id in (new_id(), new_id()):
        fork = {"previous_spool_id": shared.spool_id, "shared_sequence": 1}
        group += [spooled(spool_id, 1, spool_forked=fork), shared._replace(spool_id=spool_id)]
    store.request(lambda _: store._database.writer.commit(group)).result()
    assert rows(store, "SELECT count(*), count(DISTINCT record_id) FROM store.record") == [(3, 3)]
    assert rows(store, "SELECT sequence, stored FROM store.watermark") == [(2, 2), (2, 2)]


def test_the_copied_spool_may_come_after_the_one_that_continues_it(store: Store) -> None:
    """A collector that went back to a backup hears from both again, in any order, and stores once."""
    shared = spooled(new_id(), 1)
    fork = {"previous_spool_id": shared.spool_id, "shared_sequence": 0}
    continued = [spooled(new_id(), 1, spool_forked=fork)]
    continued.append(shared._replace(spool_id=continued[0].spool_id, sequence=2))
    for arrivals in (continued, [shared, spooled(shared.spool_id, 2)]):
        assert store.deliver(arrivals).result().watermark == 2
    assert rows(store, "SELECT count(*), count(DISTINCT record_id) FROM store.record") == [(3, 3)]


def test_a_group_of_many_rows_is_stored_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its memory is bounded, and every record is stored and acknowledged all the same."""
    monkeypatch.setattr("llmenv_collector.delivery.group.MAX_GROUP_ROWS", 10)
    spool_id = new_id()
    group = [spooled(spool_id, number) for number in range(1, 24)]
    delivered = store.deliver(group).result()
    assert (delivered.watermark, delivered.rejections, delivered.jump) == (23, (), "")
    assert rows(store, "SELECT count(*) FROM store.record") == [(23,)]


def test_welcome_repeats_as_many_rejections_as_a_message_holds(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first; the others when those are confirmed.  Else an agent could never be welcomed again."""
    monkeypatch.setattr("llmenv_collector.storage.store.MAX_REPEATED", 2)
    spool_id = new_id()
    store.deliver([spooled(spool_id, n)._replace(record=b"") for n in range(1, 5)]).result()
    assert [one.sequence for one in store.spool_state(spool_id).result().rejections] == [1, 2]
    for number in (1, 2):
        store.confirm_rejection(spool_id, number).result()
    assert [one.sequence for one in store.spool_state(spool_id).result().rejections] == [3, 4]


def test_what_many_ask_is_answered_in_one_go(store: Store) -> None:
    """A fleet that comes back costs a query, not one a machine; each gets its own answer."""
    asked: list[Sequence[str]] = []
    begun, let_go = threading.Event(), threading.Event()

    def wait(_: object) -> None:
        begun.set()
        let_go.wait(60)

    def doubled(_: object, keys: Sequence[str]) -> dict[str, str]:
        asked.append(keys)
        return {key: key * 2 for key in keys}

    store.request(wait, is_change=False)
    begun.wait(60)
    answers = [store.ask(doubled, key, is_change=False) for key in ("a", "b", "c")]
    let_go.set()
    assert [answer.result() for answer in answers] == ["aa", "bb", "cc"]
    assert asked == [["a", "b", "c"]]


def test_a_question_that_fails_fails_for_whoever_asked(store: Store) -> None:
    """And the writer goes on."""

    def fails(connection: Any, _: Sequence[str]) -> dict[str, str]:
        connection.execute("SELECT * FROM store.nothing_of_this_name")
        return {}

    with pytest.raises(StoreError):
        store.ask(fails, "a", is_change=False).result()
    assert store.spool_state(new_id()).result().watermark is None


def test_environments_are_stored_once(store: Store) -> None:
    """Equal packages share their rows, also when they arrive in one group and again later."""
    snapshot = {
        "environment": {"python_version": "3.11.7", "packages": [{"name": "torch", "version": "2.13.0"}]}
    }
    spool_id = new_id()
    store.deliver([spooled(spool_id, number, environment_snapshot=snapshot) for number in (1, 2)]).result()
    store.deliver([spooled(spool_id, 3, environment_snapshot=snapshot)]).result()
    assert rows(
        store, "SELECT (SELECT count(*) FROM store.environment), count(*) FROM store.environment_package"
    ) == [(1, 1)]
    assert rows(store, "SELECT count(*) FROM store.environment_sighting") == [(3,)]


def test_an_environment_that_was_removed_is_stored_again(store: Store) -> None:
    """Whoever forgets a machine removes what only that one had; another one may have the same tomorrow."""
    snapshot = {"environment": {"python_version": "3.11.7", "packages": [{"name": "torch"}]}}
    spool_id = new_id()
    store.deliver([spooled(spool_id, 1, environment_snapshot=snapshot)]).result()
    store.request(lambda connection: forget(connection, [MACHINE])).result()
    assert rows(store, "SELECT count(*) FROM store.environment") == [(0,)]
    store.deliver([spooled(new_id(), 1, environment_snapshot=snapshot)]).result()
    assert rows(
        store, "SELECT (SELECT count(*) FROM store.environment), count(*) FROM store.environment_package"
    ) == [(1, 1)]


def test_an_environment_whose_transaction_failed_is_stored_with_the_next(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was taken back is not remembered as stored, whatever is stored in between."""
    snapshot = {"environment": {"python_version": "3.11.7", "packages": [{"name": "torch"}]}}
    arrival, failures = spooled(new_id(), 1, environment_snapshot=snapshot), iter([True])

    def reach(_name: str, *, error: type[Exception]) -> None:
        if next(failures, False):
            raise error("the disk failed")

    monkeypatch.setattr("llmenv.failpoints.reach", reach)
    with pytest.raises(StoreError):
        store.deliver([arrival]).result()
    store.deliver([spooled(new_id(), 1)]).result()
    store.deliver([arrival]).result()
    assert rows(store, "SELECT count(*) FROM store.environment") == [(1,)]


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """An older program says what to do instead of guessing."""
    connection = migrate.connect(tmp_path / "llmenv.duckdb")
    later = Migration(version=9_999, name="9999_later", statements="CREATE TABLE store.later (a INTEGER)")
    migrate.migrate(connection, migrations=[*migrate.shipped(), later])
    connection.close()
    with pytest.raises(StoreError, match="schema 9999 and this collector knows"):
        Store(tmp_path / "llmenv.duckdb")


def test_a_failed_migration_leaves_nothing(tmp_path: Path) -> None:
    """A step is one transaction: half of it is never seen."""
    connection = migrate.connect(tmp_path / "llmenv.duckdb")
    migrate.migrate(connection)
    broken = Migration(
        version=9_999, name="9999_broken", statements="CREATE TABLE store.half (a INTEGER); SELECT nonsense"
    )
    with pytest.raises(StoreError, match="nonsense"):
        migrate.migrate(connection, migrations=[*migrate.shipped(), broken])
    assert connection.execute(
        "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'half'"
    ).fetchall() == [(0,)]
    assert migrate.current_version(connection) == migrate.shipped()[-1].version
    connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """One sentence that names the file."""
    (tmp_path / "llmenv.duckdb").write_bytes(b"not a database" * 1_000)
    with pytest.raises(StoreError, match=r"llmenv\.duckdb cannot be opened as a DuckDB database"):
        Store(tmp_path / "llmenv.duckdb")


def test_files_keep_the_older_storage_version(store: Store) -> None:
    """Both supported majors of DuckDB can read the file."""
    tags = rows(
        store, "SELECT tags['storage_version'] FROM duckdb_databases() WHERE database_name = 'llmenv'"
    )
    assert tags == [("v1.5.0+",)]


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 12), st.integers(1, 6)), min_size=1, max_size=12))
def test_any_order_of_deliveries_stores_a_prefix_once(deliveries: list[tuple[int, int, int]]) -> None:
    """Against a model: duplicates are dropped, jumps refused, and the watermark is the prefix."""
    spools = [new_id(), new_id()]
    records = [[spooled(spool_id, number) for number in range(1, 20)] for spool_id in spools]
    model = [0, 0]
    with tempfile.TemporaryDirectory() as folder:
        connection = migrate.connect(Path(folder) / "llmenv.duckdb")
        migrate.migrate(connection)
        writer = GroupWriter(connection)
        for spool, first, count in deliveries:
            outcome = writer.commit(records[spool][first - 1 : first - 1 + count])
            if first <= model[spool] + 1:
                model[spool] = max(model[spool], first + count - 1)
            assert outcome.watermarks[spools[spool]] == model[spool]
            assert bool(outcome.jumps) == (first > model[spool] + 1)
        stored = connection.execute("SELECT count(*), count(DISTINCT record_id) FROM store.record").fetchall()
        assert stored == [(sum(model), sum(model))]
        marks = read_watermarks(connection, spools)
        assert [marks[one].sequence if one in marks else 0 for one in spools] == model
        connection.close()


def wait_for_empty_log(store: Store) -> None:
    deadline = time.monotonic() + 90
    while store.log_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_the_log_goes_into_the_file_when_nothing_is_delivered(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks something would read it first; it waits while the file is left alone."""
    monkeypatch.setattr("llmenv_collector.storage.store.QUIET_LOG_BYTES", 1)
    monkeypatch.setattr("llmenv_collector.storage.store.QUIET_SECONDS", 3_600.0)
    spool_id = new_id()
    store.deliver([spooled(spool_id, 1)]).result(timeout=90)
    store.hold().result(timeout=90)
    assert store.log_bytes() > 0
    monkeypatch.setattr("llmenv_collector.storage.store.QUIET_SECONDS", 0.0)
    store.deliver([spooled(spool_id, 2)]).result(timeout=90)
    store.spool_state(spool_id).result(timeout=90)  # the writer has looked at the log again
    assert store.log_bytes() > 0
    store.release().result(timeout=90)
    wait_for_empty_log(store)
    assert rows(store, "SELECT count(*) FROM store.record") == [(2,)]
