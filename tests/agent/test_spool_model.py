"""The spool against a model of it: in whatever order things happen, nothing is lost and nothing doubled."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from llmenv.fleet.v1 import record_pb2, result_pb2
from llmenv_agent.spool import GENESIS, Spool
from llmenv_agent.spool_bounds import Bounds

EXAMPLES = int(os.environ.get("LLMENV_SPOOL_EXAMPLES", "60"))
"""1,000 in CI; each is a life of 40 steps."""
MEMORY = Path("/dev/shm")  # commits cost a hundredth there, and what is tested is the same
BOUNDS = Bounds(total_bytes=6_000, acknowledged_bytes=3_000)


@dataclass
class Minted:
    """What the model knows of one sequence."""

    record_id: str
    is_rejected: bool = False


@dataclass
class Collector:
    """A collector that keeps what arrives, in order, and what the chain was then."""

    received: dict[int, tuple[int, str]] = field(default_factory=dict)
    digests: dict[int, bytes] = field(default_factory=lambda: {0: GENESIS})
    watermark: int = 0


class SpoolMachine(RuleBasedStateMachine):
    """Appends, sends, acknowledges, rejects, reopens, restores the collector and forks."""

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None)
        self.path = Path(self.folder.name) / "spool.db"
        self.spool = Spool(self.path, machine_id="machine", bounds=BOUNDS)
        self.minted: dict[int, Minted] = {}
        self.collector = Collector()
        self.sent = 0
        self.rejected_ids: set[str] = set()

    def teardown(self) -> None:
        self.spool.close()
        self.folder.cleanup()

    @rule(size=st.integers(min_value=0, max_value=900))
    def append(self, size: int) -> None:
        record = record_pb2.Record(
            command_outcome=record_pb2.CommandOutcome(command_id="c", reason="x" * size)
        )
        sequence = self.spool.append(record)
        assert max(self.minted, default=0) + 1 == sequence
        self.minted[sequence] = Minted(record.record_id)

    @rule(trials=st.integers(min_value=1, max_value=90))
    def append_measured(self, trials: int) -> None:
        """Its raw trials may go where the spool is full; it stays itself."""
        measurement = result_pb2.Measurement(name="seconds", value=1.0, trials=[1.0] * trials)
        finished = record_pb2.CheckFinished(run_id="r", result=result_pb2.Result(measurements=[measurement]))
        record = record_pb2.Record(check_finished=finished)
        sequence = self.spool.append(record)
        self.minted[sequence] = Minted(record.record_id)

    @rule(
        size=st.integers(min_value=0, max_value=900),
        part=st.floats(min_value=0, max_value=1),
        tail=st.binary(),
    )
    def crash_while_appending(self, size: int, part: float, tail: bytes) -> None:
        """The write stops at any byte, with anything behind it: the record is there whole, or not at all."""
        outcome = record_pb2.CommandOutcome(command_id="c", reason="x" * size)
        record = record_pb2.Record(command_outcome=outcome)
        log = self.path.with_name("spool.db-wal")
        before = log.stat().st_size if log.exists() else 0
        sequence = self.spool.append(record)
        content, written = self.path.read_bytes(), log.read_bytes()
        self.spool.close()
        reached = before + int((len(written) - before) * part) if len(written) > before else len(written)
        shutil.rmtree(self.path.parent)
        self.path.parent.mkdir()
        self.path.write_bytes(content)
        log.write_bytes(written[:reached] + tail)
        self.spool = Spool(self.path, machine_id="machine", bounds=BOUNDS)
        assert self.spool.marks().last_sequence in {sequence - 1, sequence}
        if self.spool.marks().last_sequence == sequence:
            self.minted[sequence] = Minted(record.record_id)
        self.reconnect()

    @rule(
        max_records=st.integers(min_value=1, max_value=5), max_bytes=st.integers(min_value=1, max_value=2_000)
    )
    def send(self, max_records: int, max_bytes: int) -> None:
        batch = self.spool.offer_after(self.sent, max_records=max_records, max_bytes=max_bytes)
        assert len(batch) <= max_records
        assert len(batch) <= 1 or sum(len(spooled.record) for spooled in batch) <= max_bytes
        assert bool(batch) == (self.sent < max(self.minted, default=0))
        for spooled in batch:
            self.receive(spooled.sequence, spooled.record)

    def receive(self, sequence: int, content: bytes) -> None:
        """The collector's rule: contiguous, a tombstone counting for the sequences that it covers."""
        record = record_pb2.Record.FromString(content)
        is_tombstone = record.WhichOneof("kind") == "tombstone"
        first = record.tombstone.first_sequence if is_tombstone else sequence
        assert self.sent + 1 == first
        assert not is_tombstone or record.tombstone.last_sequence == sequence
        assert not is_tombstone or record.tombstone.dropped_records == sequence - first + 1
        digest = hashlib.sha256(self.collector.digests[self.sent] + content).digest()
        self.collector.digests[sequence] = digest
        assert digest == self.spool.digest_at(sequence)
        self.collector.received[sequence] = (sequence - first + 1 if is_tombstone else 0, record.record_id)
        self.sent = sequence

    @precondition(lambda self: self.sent > self.collector.watermark)
    @rule(data=st.data())
    def acknowledge(self, data: st.DataObject) -> None:
        arrived = [sequence for sequence in self.collector.received if sequence > self.collector.watermark]
        self.collector.watermark = data.draw(st.sampled_from(sorted(arrived)))
        self.spool.acknowledge(self.collector.watermark)

    @precondition(lambda self: self.sent > self.collector.watermark)
    @rule(repeat=st.integers(min_value=1, max_value=2))
    def reject(self, repeat: int) -> None:
        sequence = min(s for s in self.collector.received if s > self.collector.watermark)
        dropped, record_id = self.collector.received[sequence]
        for _ in range(repeat):
            self.spool.reject(sequence, reason="no such kind")
        if not dropped:
            self.minted[sequence].is_rejected = True
            self.rejected_ids.add(record_id)

    @rule()
    def reopen(self) -> None:
        self.spool.close()
        self.spool = Spool(self.path, machine_id="machine", bounds=BOUNDS)

    @rule()
    def reconnect(self) -> None:
        """The stream breaks; what was under way counts as never sent."""
        self.resume(self.collector.watermark)

    @rule(data=st.data())
    def restore_collector(self, data: st.DataObject) -> None:
        """The collector comes back from a backup, with an older watermark; or the spool forks."""
        watermark = data.draw(st.sampled_from([0, *sorted(self.collector.received)]))
        if watermark > self.collector.watermark:
            return
        digest = self.collector.digests[watermark] if watermark else b""
        if self.spool.can_continue_from(watermark, digest=digest):
            self.resume(watermark)
        else:
            self.fork(watermark)

    @rule()
    def fork_as_a_copy(self) -> None:
        """The collector knows more of this spool id than this copy ever sent."""
        ahead = max(self.minted, default=0) + 3
        assert not self.spool.can_continue_from(ahead, digest=b"\0" * 32)
        self.fork(ahead)

    def resume(self, watermark: int) -> None:
        self.spool.resume_at(watermark)
        received = self.collector.received
        self.collector.received = {s: entry for s, entry in received.items() if s <= watermark}
        self.collector.watermark = self.sent = watermark

    def fork(self, watermark: int) -> None:
        before = self.spool.marks()
        shared = min(watermark, before.watermark)
        with self.spool._file.reading() as connection:
            held = connection.execute(
                "SELECT record FROM record WHERE sequence > ? AND is_rejected = 0 ORDER BY sequence",
                (shared,),
            ).fetchall()
        expected = [record_pb2.Record.FromString(content) for (content,) in held]
        spool_id = self.spool.fork(watermark)
        self.collector, self.sent = Collector(), 0
        rows = self.spool.offer_after(0, max_records=10_000, max_bytes=1 << 30)
        records = [record_pb2.Record.FromString(row.record) for row in rows]
        self.spool.resume_at(0)
        assert before.spool_id != spool_id == self.spool.marks().spool_id
        assert before.spool_id == records[0].spool_forked.previous_spool_id
        assert shared == records[0].spool_forked.shared_sequence
        assert [record.record_id for record in expected] == [record.record_id for record in records[1:]]
        self.minted = {}
        for row, record in zip(rows, records, strict=True):
            first = record.tombstone.first_sequence or row.sequence
            for sequence in range(first, row.sequence + 1):
                self.minted[sequence] = Minted(record.record_id)

    @invariant()
    def ledger_adds_up(self) -> None:
        self.forget_rejections_that_were_buried()
        ledger = self.spool.ledger()
        assert ledger.minted == ledger.stored + ledger.rejected + ledger.waiting + ledger.dropped
        assert max(self.minted, default=0) == ledger.minted
        assert sum(minted.is_rejected for minted in self.minted.values()) == ledger.rejected
        received = {s: e for s, e in self.collector.received.items() if s <= self.collector.watermark}
        rejected = sum(self.minted[s].is_rejected for s, (dropped, _) in received.items() if not dropped)
        assert len(received) - sum(1 for d, _ in received.values() if d) - rejected == ledger.stored

    def forget_rejections_that_were_buried(self) -> None:
        """A collector that went back has not rejected it, and will be told that it was dropped."""
        with self.spool._file.reading() as connection:
            rows = connection.execute("SELECT sequence, dropped FROM record WHERE dropped > 0").fetchall()
        for last, covers in rows:
            for sequence in range(last - covers + 1, last + 1):
                self.minted[sequence].is_rejected = False

    @invariant()
    def nothing_is_lost(self) -> None:
        """Each sequence is with the collector, or held under its own id, or covered by one tombstone."""
        marks = self.spool.marks()
        assert marks.last_sequence == max(self.minted, default=0)
        assert marks.watermark == self.collector.watermark
        assert {letter.record_id for letter in self.spool.dead_letters()} == self.rejected_ids
        with self.spool._file.reading() as connection:
            rows = connection.execute(
                "SELECT sequence, record, dropped FROM record ORDER BY sequence"
            ).fetchall()
        covered = [
            s
            for row in rows
            for s in range(row["sequence"] - max(row["dropped"], 1) + 1, row["sequence"] + 1)
        ]
        assert list(range(marks.first_sequence, marks.last_sequence + 1)) == covered or not rows
        assert marks.first_sequence <= max(marks.watermark, 1)
        for row in rows:
            record = record_pb2.Record.FromString(row["record"])
            assert (record.WhichOneof("kind") == "tombstone") == (row["dropped"] > 0)
            if not row["dropped"]:
                assert self.minted[row["sequence"]].record_id == record.record_id

    @invariant()
    def stays_within_its_bound(self) -> None:
        with self.spool._file.reading() as connection:
            spool = connection.execute(
                "SELECT record_bytes, acknowledged_bytes, offered FROM spool"
            ).fetchone()
            held = connection.execute("SELECT ifnull(sum(length(record)), 0) FROM record").fetchone()[0]
            acknowledged, in_flight = connection.execute(
                "SELECT ifnull(sum(CASE WHEN sequence <= watermark THEN length(record) END), 0),"
                " ifnull(sum(CASE WHEN sequence > watermark AND sequence <= offered"
                "  THEN length(record) END), 0)"
                " FROM record, spool"
            ).fetchone()
        assert held == spool["record_bytes"]
        assert acknowledged == spool["acknowledged_bytes"]
        assert held <= BOUNDS.total_bytes + in_flight + 1_400


SpoolMachine.TestCase.settings = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],  # shrinking takes minutes, since each step commits
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestSpoolModel = pytest.mark.timeout(3_600)(SpoolMachine.TestCase)
