"""The spool's promises one by one."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from llmenv.fleet.v1 import agent_service_pb2, record_pb2, result_pb2, run_pb2
from llmenv_agent.errors import ProtocolError, RecordTooLargeError, SpoolError
from llmenv_agent.spool import Spool
from llmenv_agent.spool_bounds import Bounds

from .set_clocks import SetClocks

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = Spool(tmp_path / "spool.db", machine_id="machine-1")
    yield spool
    spool.close()


def outcome(reason: str) -> record_pb2.Record:
    return record_pb2.Record(command_outcome=record_pb2.CommandOutcome(command_id="c", reason=reason))


def reasons(spool: Spool, *, after: int = 0) -> list[str]:
    records = [record_pb2.Record.FromString(spooled.record) for spooled in spool.offer_after(after)]
    return [record.command_outcome.reason for record in records]


def test_a_record_is_stamped(spool: Spool) -> None:
    """Id, time, machine and clock offset are filled in before the record is written."""
    spool.note_clock_offset(1.5)
    spool.append(outcome("first"))
    record = record_pb2.Record.FromString(spool.offer_after(0)[0].record)
    assert record.machine_id == "machine-1"
    assert record.clock_offset_seconds == 1.5
    assert record.record_id
    assert record.HasField("measured_at")


def test_a_clock_that_is_set_changes_the_offset_and_one_that_drifts_does_not(tmp_path: Path) -> None:
    """Until the clocks are compared anew; sleep, waiting and the crystal are no step."""
    clocks = SetClocks()
    spool = Spool(tmp_path / "spool.db", machine_id="machine-1", clocks=clocks.clocks)

    def stamped() -> float:
        spool.append(outcome("now"))
        return list(spool.records())[-1].clock_offset_seconds

    spool.note_clock_offset(1.5)
    clocks.sleep(3_600)
    clocks.set_forward(0.2)
    assert stamped() == 1.5
    clocks.set_forward(-86_400)
    assert stamped() == pytest.approx(86_401.5)
    clocks.wait(30)
    assert stamped() == pytest.approx(86_401.5)
    clocks.set_forward(86_400)
    assert stamped() == pytest.approx(1.5)
    clocks.set_forward(60)
    spool.note_clock_offset(-58.5)
    assert stamped() == -58.5
    spool.close()


def test_a_killed_process_loses_nothing_it_appended(tmp_path: Path) -> None:
    """What append returned for is there after kill -9 of the process."""
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom llmenv.fleet.v1 import record_pb2\n"
        "from llmenv_agent.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]), machine_id='machine-1')\n"
        "for number in range(5): spool.append(record_pb2.Record(command_outcome=record_pb2.CommandOutcome("
        "command_id='c', reason=str(number))))\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    path = tmp_path / "spool.db"
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    spool = Spool(path, machine_id="machine-1")
    assert reasons(spool) == ["0", "1", "2", "3", "4"]
    spool.close()


def test_who_looks_while_the_agent_appends_sees_no_damage(tmp_path: Path) -> None:
    """What is checked is of one commit: marks read before an append and records read after it differ."""
    path = tmp_path / "spool.db"
    spool = Spool(path, machine_id="machine-1")
    is_over = threading.Event()

    def append() -> None:
        while not is_over.is_set():
            spool.append(outcome("meanwhile"))

    with ThreadPoolExecutor(1) as others:
        appending = others.submit(append)
        try:
            for _ in range(100):
                Spool(path).close()
        finally:
            is_over.set()
        appending.result()
    spool.close()


def test_a_spool_has_its_name_when_it_is_whole(tmp_path: Path) -> None:
    """Who looks while it is made finds none, or all of it; an empty file of a full disk is made anew."""
    path = tmp_path / "spool.db"
    path.touch()
    seen: list[str] = []

    def look() -> None:
        while "machine-1" not in seen:
            with contextlib.suppress(SpoolError):
                seen.append(Spool(path).marks().machine_id)

    with ThreadPoolExecutor(1) as threads:
        looking = threads.submit(look)
        Spool(path, machine_id="machine-1").close()
        looking.result()
    assert seen == ["machine-1"]
    others = {each.name for each in tmp_path.iterdir()} - {"spool.db", "spool.db-wal", "spool.db-shm"}
    assert others == set()


def test_who_looks_makes_no_spool(tmp_path: Path) -> None:
    """A question leaves nothing behind."""
    with pytest.raises(SpoolError, match=r"spool\.db cannot be used"):
        Spool(tmp_path / "spool.db")
    assert list(tmp_path.iterdir()) == []


def test_a_spool_of_a_newer_agent_is_refused(tmp_path: Path) -> None:
    """An older agent does not touch what it does not understand."""
    path = tmp_path / "spool.db"
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(SpoolError, match="newer llmenv-agent"):
        Spool(path, machine_id="machine-1")


def test_a_record_past_the_limit_is_refused(spool: Spool) -> None:
    """Nothing enters the spool that could never be sent."""
    with pytest.raises(RecordTooLargeError, match="at most 1,048,576 fit"):
        spool.append(outcome("x" * (1 << 20)))
    assert spool.ledger().minted == 0


def test_a_batch_keeps_its_limits(spool: Spool) -> None:
    """A batch ends at its count or its bytes, and a single large record still goes."""
    for size in (10, 10, 5_000, 10):
        spool.append(outcome("x" * size))
    assert [spooled.sequence for spooled in spool.offer_after(0, max_records=2)] == [1, 2]
    assert [spooled.sequence for spooled in spool.offer_after(0, max_bytes=1_000)] == [1, 2]
    assert [spooled.sequence for spooled in spool.offer_after(2, max_bytes=1_000)] == [3]


def test_an_acknowledgement_of_what_was_not_sent_is_refused(spool: Spool) -> None:
    """A collector that acknowledges too much is in error, and nothing is taken for delivered."""
    spool.append(outcome("only"))
    with pytest.raises(ProtocolError, match="acknowledged 1, but only 0 was sent"):
        spool.acknowledge(1)
    assert spool.ledger().waiting == 1


def test_a_full_spool_keeps_what_is_in_flight(tmp_path: Path) -> None:
    """Records that may be at the collector are never replaced; a tombstone covers the oldest others."""
    spool = Spool(tmp_path / "spool.db", machine_id="machine-1", bounds=Bounds(total_bytes=3_000))
    for number in range(4):
        spool.append(outcome(f"{number}" * 500))
    spool.offer_after(0, max_records=2)
    for number in range(4, 8):
        spool.append(outcome(f"{number}" * 500))
    records = [record_pb2.Record.FromString(row.record) for row in spool.offer_after(0)]
    assert [r.WhichOneof("kind") for r in records[:3]] == ["command_outcome", "command_outcome", "tombstone"]
    tombstone = records[2].tombstone
    assert tombstone.first_sequence == 3
    assert tombstone.last_sequence - 2 == tombstone.dropped_records == spool.ledger().dropped
    assert tombstone.reason == "the spool reached 3,000 bytes"
    spool.close()


def test_raw_trials_go_before_verdicts(tmp_path: Path) -> None:
    """A full spool first takes them from its oldest unsent results, which say so; nothing is dropped."""
    spool = Spool(tmp_path / "spool.db", machine_id="machine-1", bounds=Bounds(total_bytes=8_000))
    for number in range(6):
        measurement = result_pb2.Measurement(name="seconds", value=number, trials=[1.0] * 200)
        result = result_pb2.Result(check_name="bench", measurements=[measurement])
        spool.append(record_pb2.Record(check_finished=record_pb2.CheckFinished(run_id="r", result=result)))
    rows = spool.offer_after(0)
    results = [record_pb2.Record.FromString(row.record).check_finished.result for row in rows]
    assert [len(result.measurements[0].trials) for result in results] == [0, 0, 200, 200, 200, 200]
    assert [list(result.cut) for result in results[:3]] == [["raw trials of 1 measurements"]] * 2 + [[]]
    assert [result.measurements[0].value for result in results] == [0, 1, 2, 3, 4, 5]
    assert spool.ledger().dropped == 0
    spool.close()


def test_a_fork_says_what_a_restored_collector_lost(tmp_path: Path) -> None:
    """Acknowledged records that are held no more are counted in the first record of the new spool."""
    spool = Spool(tmp_path / "spool.db", machine_id="machine-1", bounds=Bounds(acknowledged_seconds=-1.0))
    for number in range(9):
        spool.append(outcome(str(number)))
    spool.offer_after(0)
    spool.acknowledge(7)
    assert spool.marks().first_sequence == 7
    spool.fork(3)
    first = record_pb2.Record.FromString(spool.offer_after(0)[0].record).spool_forked
    assert (first.shared_sequence, first.lost_records) == (3, 3)
    assert reasons(spool)[1:] == ["6", "7", "8"]
    spool.close()


def test_old_acknowledged_records_go_and_the_last_stays(tmp_path: Path) -> None:
    """Past the age bound only the record at the watermark is kept, so that the chain can go on."""
    spool = Spool(tmp_path / "spool.db", machine_id="machine-1", bounds=Bounds(acknowledged_seconds=-1.0))
    for number in range(3):
        spool.append(outcome(str(number)))
    spool.offer_after(0)
    spool.acknowledge(3)
    assert spool.marks().first_sequence == 3
    assert spool.can_continue_from(3, digest=spool.digest_at(3) or b"")
    assert not spool.can_continue_from(0, digest=b"")
    spool.close()


@pytest.mark.parametrize("is_known_by", ["a step", "the collector"])
def test_a_clock_that_is_a_year_ahead_lets_no_acknowledged_record_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_known_by: str
) -> None:
    """A collector that is restored asks for them again, when the clock has long been right."""
    clocks, year, now = SetClocks(), 365 * 86_400.0, time.time()
    spool = Spool(tmp_path / "spool.db", machine_id="machine-1", clocks=clocks.clocks)
    for number in range(3):
        spool.append(outcome(str(number)))
    spool.offer_after(0)
    monkeypatch.setattr("time.time", lambda: now + year)
    if is_known_by == "a step":
        clocks.set_forward(year)
    else:
        spool.note_clock_offset(-year)
    spool.acknowledge(3)
    assert spool.marks().first_sequence == 1
    spool.close()


def test_a_new_identity_takes_the_waiting_records_along(tmp_path: Path) -> None:
    """After enrolling anew, what was not delivered is delivered under the new machine id."""
    path = tmp_path / "spool.db"
    spool = Spool(path, machine_id="machine-1")
    spool.append(outcome("measured before"))
    spool.close()
    spool = Spool(path, machine_id="machine-2")
    records = [record_pb2.Record.FromString(row.record) for row in spool.offer_after(0)]
    assert [record.WhichOneof("kind") for record in records] == ["spool_forked", "command_outcome"]
    assert [record.machine_id for record in records] == ["machine-2", "machine-2"]
    spool.close()


def test_a_command_is_accepted_once(spool: Spool) -> None:
    """The id is on the disk with its outcome, so a second delivery of the command does nothing."""
    command = agent_service_pb2.Command(command_id="command-1", expires_in_seconds=60)
    assert spool.accept_command(command)
    assert not spool.accept_command(command)
    assert spool.ledger().minted == 1
    assert [waiting.command_id for waiting in spool.waiting_commands()] == ["command-1"]


def test_a_rejected_record_is_a_dead_letter(spool: Spool) -> None:
    """It is counted once however often the rejection is repeated."""
    sequence = spool.append(outcome("strange"))
    spool.offer_after(0)
    for _ in range(2):
        spool.reject(sequence, reason="no machine of that name")
    spool.acknowledge(sequence)
    assert [letter.reason for letter in spool.dead_letters()] == ["no machine of that name"]
    ledger = spool.ledger()
    assert (ledger.minted, ledger.stored, ledger.rejected, ledger.waiting) == (1, 0, 1, 0)


def test_the_journal_knows_what_has_not_ended(spool: Spool) -> None:
    """A run and its check are unfinished until their ends are spooled."""
    spool.append(
        record_pb2.Record(run_started=record_pb2.RunStarted(run=run_pb2.Run(run_id="run", suite="quick")))
    )
    check = record_pb2.CheckStarted(run_id="run", result_id="result", check_name="torch_basics")
    spool.append(record_pb2.Record(check_started=check))
    assert [(u.kind, u.name) for u in spool.unfinished()] == [("run", "quick"), ("check", "torch_basics")]
    spool.append(record_pb2.Record(run_finished=record_pb2.RunFinished(run_id="run")))
    assert spool.unfinished() == []


def test_threads_share_a_spool(spool: Spool) -> None:
    """Sequences stay contiguous when several threads append while another one reads."""

    def work() -> None:
        for _ in range(25):
            spool.append(outcome("x"))
            spool.ledger()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(range(1, 101)) == [spooled.sequence for spooled in spool.offer_after(0)]


def test_the_spool_is_private(tmp_path: Path) -> None:
    """Nobody but the agent's user reads results before they are delivered."""
    path = tmp_path / "state" / "spool.db"
    Spool(path, machine_id="machine-1").close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_an_agent_that_may_not_write_its_spool_says_so_when_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not at the first record: SQLite opens such a file for reading, without a word."""
    path = tmp_path / "spool.db"
    Spool(path, machine_id="machine-1").close()

    def refused(*_arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.open", refused)
    with pytest.raises(SpoolError, match=r"spool\.db cannot be opened: Permission denied"):
        Spool(path, machine_id="machine-1")


def test_a_spool_has_no_name_while_the_disk_has_no_room_for_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what a full disk leaves, nothing is taken for a spool, and nothing stays."""
    path = tmp_path / "spool.db"

    def full(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA max_page_count = 1")
        connection.execute("CREATE TABLE more (than, fits)")

    with monkeypatch.context() as patch:
        patch.setattr("llmenv_agent.spool_file._keep_log", full)
        with pytest.raises(SpoolError, match="disk is full"):
            Spool(path, machine_id="machine-1")
    assert not path.exists()
    (tmp_path / "spool.db.part-wal").write_bytes(b"of a spool that was being made")
    Spool(path, machine_id="machine-1").close()
    assert [path] == list(tmp_path.iterdir())


def test_who_may_not_write_beside_a_spool_learns_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another user, or on a disk that is read-only: SQLite's own words are not enough."""
    path = tmp_path / "spool.db"
    path.mkdir()  # which nobody can open, root neither
    with pytest.raises(SpoolError, match="unable to open database file"):
        Spool(path)
    monkeypatch.setattr("os.access", lambda *_arguments: False)
    with pytest.raises(SpoolError, match=f"{tmp_path} cannot be written here; ask as the user whose it is"):
        Spool(path)
