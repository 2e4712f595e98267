"""A disk that lies: whatever it changes, nothing false is delivered and nothing goes missing in silence."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from llmenv.fleet.v1 import record_pb2
from llmenv_agent import spool_salvage
from llmenv_agent.errors import SpoolError
from llmenv_agent.spool import Spool
from llmenv_agent.spool_file import _make

if TYPE_CHECKING:
    from collections.abc import Callable

RECORDS, ACKNOWLEDGED = 60, 20
EXAMPLES = int(os.environ.get("LLMENV_SPOOL_EXAMPLES", "60"))


def outcome(reason: str) -> record_pb2.Record:
    return record_pb2.Record(command_outcome=record_pb2.CommandOutcome(command_id="c", reason=reason))


def offered(spool: Spool, after: int = 0) -> dict[int, bytes]:
    rows = spool.offer_after(after, max_records=10_000, max_bytes=1 << 30)
    return {row.sequence: row.record for row in rows}


def build(path: Path) -> dict[int, bytes]:
    """A closed spool of which a third is acknowledged; what it would deliver, by sequence."""
    spool = Spool(path, machine_id="machine")
    for number in range(RECORDS):
        spool.append(outcome(f"{number} " + "x" * 40))
    written = offered(spool)
    spool.acknowledge(ACKNOWLEDGED)
    spool.resume_at(ACKNOWLEDGED)
    spool.close()
    return written


class Whole:
    """A spool before the damage."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = build(path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("whole") / "spool.db")


def damage(path: Path, change: Callable[[sqlite3.Connection], object]) -> None:
    with closing(sqlite3.connect(path)) as connection:
        change(connection)
        connection.commit()


def tombstones(records: dict[int, bytes]) -> list[record_pb2.Tombstone]:
    found = [record_pb2.Record.FromString(content) for content in records.values()]
    return [record.tombstone for record in found if record.WhichOneof("kind") == "tombstone"]


def require_contiguous(records: dict[int, bytes], *, after: int, last: int) -> None:
    """As the collector judges: each follows, a tombstone from the first sequence that it covers."""
    for sequence, content in sorted(records.items()):
        tombstone = record_pb2.Record.FromString(content).tombstone
        assert after + 1 == (tombstone.first_sequence or sequence)
        after = sequence
    assert last == after


def test_a_corrupt_record_is_delivered_around(tmp_path: Path) -> None:
    """A tombstone with the reason takes its place, the others go, and the ledger counts it as dropped."""
    path = tmp_path / "spool.db"
    written = build(path)
    damage(
        path, lambda it: it.execute("UPDATE record SET record = zeroblob(length(record)) WHERE sequence = 30")
    )
    spool = Spool(path, machine_id="machine")
    delivered = offered(spool, ACKNOWLEDGED)
    assert tombstones(delivered) == [
        record_pb2.Tombstone(
            first_sequence=30,
            last_sequence=30,
            dropped_records=1,
            reason="the record was damaged on the disk of the machine",
        )
    ]
    assert {30} == {sequence for sequence, content in delivered.items() if content != written[sequence]}
    spool.acknowledge(RECORDS)
    ledger = spool.ledger()
    assert (ledger.minted, ledger.stored, ledger.dropped, ledger.waiting) == (RECORDS, RECORDS - 1, 1, 0)
    spool.close()


def test_a_record_that_is_gone_is_delivered_around(tmp_path: Path) -> None:
    """A hole in the sequences becomes a tombstone: the collector would wait for it for ever."""
    path = tmp_path / "spool.db"
    build(path)
    damage(path, lambda it: it.execute("DELETE FROM record WHERE sequence BETWEEN 30 AND 33"))
    spool = Spool(path, machine_id="machine")
    delivered = offered(spool, ACKNOWLEDGED)
    assert [(one.first_sequence, one.last_sequence) for one in tombstones(delivered)] == [(30, 33)]
    require_contiguous(delivered, after=ACKNOWLEDGED, last=RECORDS)
    spool.close()


@pytest.mark.parametrize(
    "content", [b"not a database, but results for all we know" * 100, b"SQLite format 3\0"]
)
def test_a_file_that_is_no_spool_is_set_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: bytes
) -> None:
    """It is kept as it was under another name, one sentence says so, and a new spool begins."""
    path = tmp_path / "spool.db"
    path.write_bytes(content)
    spool = Spool(path, machine_id="machine")
    assert spool.append(outcome("after it")) == 1
    spool.close()
    (aside,) = tmp_path.glob("spool.db.damaged-*")
    assert aside.read_bytes() == content
    assert (
        f"kept as {aside}: a new spool begins, and what was not delivered is in that file alone"
        in caplog.text
    )


def test_a_damaged_spool_is_left_alone_by_who_looks(tmp_path: Path) -> None:
    """`status` beside an agent names the damage; only the agent itself sets a file aside."""
    path = tmp_path / "spool.db"
    path.write_bytes(b"nonsense" * 1_000)
    with pytest.raises(SpoolError, match=r"spool\.db is damaged .*: when the agent starts"):
        Spool(path)
    assert [path] == list(tmp_path.iterdir())


def test_a_spool_whose_pages_are_damaged_goes_on(tmp_path: Path) -> None:
    """The same spool, with the records that can be read, and tombstones for the others."""
    path = tmp_path / "spool.db"
    written = build(path)
    spool_id = Spool(path).marks().spool_id
    content = bytearray(path.read_bytes())
    page = content.find(b"50 " + b"x" * 40) // 4096 * 4096
    content[page : page + 100] = b"\xff" * 100
    path.write_bytes(content)
    spool = Spool(path, machine_id="machine")
    delivered = offered(spool, ACKNOWLEDGED)
    assert spool_id == spool.marks().spool_id
    assert tombstones(delivered) != []
    require_contiguous(delivered, after=ACKNOWLEDGED, last=RECORDS)
    kept = {sequence for sequence, content in delivered.items() if content == written.get(sequence)}
    assert len(kept) > 5
    assert sum(one.dropped_records for one in tombstones(delivered)) == RECORDS - ACKNOWLEDGED - len(kept)
    spool.close()


@pytest.mark.timeout(3_600)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    place=st.integers(min_value=0, max_value=(1 << 24) - 1), flipped=st.integers(min_value=1, max_value=255)
)
@example(place=18, flipped=1)  # the header says read-only
@example(place=3_596, flipped=1)  # a name in SQLite's own table
@example(place=16_387, flipped=1)  # 257 rows where there is one
def test_any_byte_may_be_wrong(whole: Whole, place: int, flipped: int) -> None:
    """What leaves is what was written, or a tombstone; else the file was set aside, or is refused."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool.db"
        shutil.copyfile(whole.path, path)
        content = bytearray(path.read_bytes())
        content[place % len(content)] ^= flipped
        path.write_bytes(content)
        try:
            spool = Spool(path, machine_id="machine")
        except SpoolError as refused:
            require_it_is_for_a_newer_agent(refused)
            return
        with closing(spool):
            require_nothing_false(spool, whole.written)


def require_it_is_for_a_newer_agent(refused: SpoolError) -> None:
    """The one byte that cannot be told from a newer agent's: the version of the schema."""
    assert "was written by a newer llmenv-agent" in str(refused)


def require_nothing_false(spool: Spool, written: dict[int, bytes]) -> None:
    marks = spool.marks()
    if marks.last_sequence == 0:
        return  # a new spool: the old one is kept whole beside it
    watermark = marks.watermark
    if not spool.can_continue_from(watermark, digest=spool.digest_at(watermark) or b""):
        return  # it would fork, and deliver anew what it holds
    delivered = offered(spool, watermark)
    require_contiguous(delivered, after=watermark, last=marks.last_sequence)
    for sequence, content in delivered.items():
        record = record_pb2.Record.FromString(content)
        assert record.WhichOneof("kind") == "tombstone" or content == written[sequence]
    ledger = spool.ledger()
    assert ledger.minted == ledger.stored + ledger.rejected + ledger.waiting + ledger.dropped


@pytest.mark.parametrize(
    "versions", [bytes([3, 2]), bytes([1, 1]), bytes([2, 1])], ids=["read-only", "no log", "no log to read"]
)
def test_a_header_that_forbids_a_log_or_writing_holds_nobody_up(tmp_path: Path, versions: bytes) -> None:
    """The agent appends, also beside somebody who reads; nothing that was there is lost."""
    path = tmp_path / "spool.db"
    build(path)
    with path.open("r+b") as file:
        file.seek(18)
        file.write(versions)
    with closing(Spool(path, machine_id="machine")) as spool, closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM record").fetchall()
        assert spool.append(outcome("after it")) == RECORDS + 1
        assert reader.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_a_log_whose_spool_is_gone_is_not_played_into_a_new_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As where somebody removed the file alone, or the agent was killed while it set it aside."""
    path, log = tmp_path / "spool.db", tmp_path / "spool.db-wal"
    former = Spool(path, machine_id="machine")
    former.append(outcome("of the former one"))
    written = log.read_bytes()
    former.close()
    path.unlink()
    log.write_bytes(written)
    with closing(Spool(path, machine_id="machine")) as spool:
        assert spool.append(outcome("the first")) == 1
    (aside,) = tmp_path.glob("spool.db.damaged-*-wal")
    assert written == aside.read_bytes()
    assert f"its log, which is kept as {aside}" in caplog.text


@pytest.mark.parametrize("step", ["salvage", "set_aside"])
def test_an_agent_killed_while_it_begins_anew_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the next one is whole, or has its name: the start after it has all that can be read."""
    path = tmp_path / "spool.db"
    build(path)
    damage(path, lambda connection: connection.execute("DROP INDEX record_with_trials"))

    def killed(*arguments: Any) -> None:
        if step == "set_aside":
            set_aside(*arguments)
        raise KeyboardInterrupt

    set_aside = spool_salvage.set_aside
    with monkeypatch.context() as patch:
        patch.setattr(spool_salvage, step, killed)
        with pytest.raises(KeyboardInterrupt):
            Spool(path, machine_id="machine")
    with closing(Spool(path, machine_id="machine")) as spool:
        assert spool.marks().last_sequence == RECORDS
        assert tombstones(offered(spool, ACKNOWLEDGED)) == []
        assert len(offered(spool, ACKNOWLEDGED)) == RECORDS - ACKNOWLEDGED
    names = {each.name for each in tmp_path.iterdir()}
    assert {"spool.db"} == {name for name in names if "damaged" not in name}
    assert any("damaged" in name for name in names)


def test_a_spool_that_cannot_be_salvaged_for_want_of_room_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It keeps its name, one sentence says why the agent does not start, and with room it goes on."""
    path = tmp_path / "spool.db"
    build(path)
    damage(path, lambda connection: connection.execute("DROP INDEX record_with_trials"))
    with monkeypatch.context() as patch:
        patch.setattr("llmenv_agent.spool_file._make", made_with_little_room)
        with pytest.raises(SpoolError, match="disk is full"):
            Spool(path, machine_id="machine")
    with closing(Spool(path, machine_id="machine")) as spool:
        assert len(offered(spool, ACKNOWLEDGED)) == RECORDS - ACKNOWLEDGED


def made_with_little_room(connection: sqlite3.Connection, machine_id: str) -> None:
    _make(connection, machine_id)
    connection.execute("PRAGMA max_page_count = 13")
