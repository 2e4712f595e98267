"""The agent's durable queue: what happened is committed here before anything else sees it.

Every record gets the next **sequence** of the spool, contiguous from 1. `append` returns when the record is
on the disk. `offer_after` gives records to send and fixes their place in the digest chain; from then on they
may be at the collector, so they are never replaced. `resume_at` and `acknowledge` move the **watermark**, the
highest sequence that the collector said is durable. Acknowledged records stay, up to the bounds, because a
collector restored from a backup asks for them again.

When the spool is full the oldest acknowledged records go first; then raw trials of records that were never
offered, oldest first; then the oldest of these records are replaced by a tombstone that covers their
sequences. What is in flight stays, so the spool may pass its bound by what one stream has under way.

The chain: d(0) = 32 zero bytes, d(n) = SHA-256(d(n-1) + record n).
"""

from __future__ import annotations

import hashlib
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from google.protobuf import message as protobuf
from llmenv import failpoints
from llmenv.fleet.v1 import agent_service_pb2, record_pb2
from llmenv.ids import new_id

from llmenv_agent import journal, record_size, spool_bounds, spool_fork, spool_rows
from llmenv_agent.clock_step import ClockStep
from llmenv_agent.clocks import SYSTEM_CLOCKS
from llmenv_agent.errors import ProtocolError, RecordTooLargeError, SpoolError
from llmenv_agent.spool_bounds import Bounds
from llmenv_agent.spool_file import SpoolFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from llmenv_agent.clocks import Clocks

GENESIS = bytes(32)
MAX_RECORD_BYTES = 1 << 20
DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Where the spool stands, 0 for none; `acknowledged_at` in Unix seconds."""

    spool_id: str
    machine_id: str
    first_sequence: int
    last_sequence: int
    watermark: int
    acknowledged_at: float | None


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A record that the collector refused for good; `rejected_at` in Unix seconds."""

    record_id: str
    spool_id: str
    sequence: int
    kind: str
    reason: str
    rejected_at: float


class Spool:
    """Safe to use from several threads of one process.

    One process at a time appends; others may look, and then name no `machine_id`.
    Raises SpoolError where the file cannot be used.
    """

    def __init__(
        self,
        path: Path,
        *,
        machine_id: str = "",
        bounds: Bounds = DEFAULT_BOUNDS,
        clocks: Clocks = SYSTEM_CLOCKS,
    ) -> None:
        self._file = SpoolFile(path, machine_id=machine_id)
        self._bounds = bounds
        self._clock_step = ClockStep(clocks)
        self._listeners: list[Callable[[], None]] = []
        if machine_id and self.marks().machine_id != machine_id:
            # Enrolled anew: the collector accepts a record only under the identity that sends it.
            with self._file.transaction() as connection:
                spool_fork.fork(connection, shared_sequence=self.marks().watermark, machine_id=machine_id)

    def close(self) -> None:
        self._file.close()

    def subscribe(self, listener: Callable[[], None]) -> None:
        """Have `listener` called after each append, in the thread that appended."""
        self._listeners.append(listener)

    def append(self, record: record_pb2.Record) -> int:
        """Commit a record and return its sequence.

        What the record does not say is filled in: record id, time, machine and clock offset.
        """
        return self.extend([record])

    def extend(self, records: Sequence[record_pb2.Record]) -> int:
        """As `append`, all of them or none; returns the sequence of the last, 0 for no records."""
        sequence = 0
        with self._file.transaction() as connection:
            sequence = self._append(connection, records)
            failpoints.reach("agent.append.before_commit", error=sqlite3.OperationalError)
        failpoints.reach("agent.append.after_commit", error=SpoolError)
        for listener in self._listeners if records else ():
            listener()
        return sequence

    def accept_command(self, command: agent_service_pb2.Command) -> bool:
        """Commit that a command will be acted on; False when it was seen before."""
        outcome = record_pb2.CommandOutcome(
            command_id=command.command_id, state=record_pb2.CommandOutcome.STATE_ACCEPTED
        )
        with self._file.transaction() as connection:
            is_new = journal.accept(connection, command)
            if is_new:
                self._append(connection, [record_pb2.Record(command_outcome=outcome)])
            failpoints.reach("agent.command.before_commit", error=sqlite3.OperationalError)
        failpoints.reach("agent.command.after_commit", error=SpoolError)
        for listener in self._listeners if is_new else ():
            listener()
        return is_new

    def waiting_commands(self) -> list[agent_service_pb2.Command]:
        """Those accepted that have not begun, oldest first, with the time that they have left."""
        with self._file.reading() as connection:
            return journal.waiting(connection)

    def offer_after(
        self, sequence: int, *, max_records: int = 256, max_bytes: int = MAX_RECORD_BYTES
    ) -> list[record_pb2.SpooledRecord]:
        """The next records to send: at least one where there is one, else within both limits."""
        with self._file.transaction() as connection:
            digest = self._digest_at(connection, sequence)
            rows = spool_rows.after(connection, sequence, max_records=max_records, max_bytes=max_bytes)
            if rows and digest is None:
                raise SpoolError(f"The spool {self._file.path} has no record {sequence} to go on from.")
            chain = _chained(digest or GENESIS, rows)
            connection.executemany("UPDATE record SET digest = ? WHERE sequence = ?", chain)
            if rows:
                connection.execute("UPDATE spool SET offered = max(offered, ?)", (rows[-1][0],))
                failpoints.reach("agent.offer.before_commit", error=sqlite3.OperationalError)
        return [record_pb2.SpooledRecord(sequence=number, record=content) for number, content in rows]

    def digest_at(self, sequence: int) -> bytes | None:
        """The chained digest; None when the record is not held or was never offered."""
        with self._file.reading() as connection:
            return self._digest_at(connection, sequence)

    def can_continue_from(self, watermark: int, *, digest: bytes) -> bool:
        """Whether the collector's record at `watermark` is this spool's own, and the next one is held."""
        marks = self.marks()
        if watermark == 0:
            return marks.first_sequence == 1 or marks.last_sequence == 0
        return self.digest_at(watermark) == digest

    def resume_at(self, watermark: int) -> None:
        """Take the collector's word at the start of a stream, also when it went back to a backup."""
        with self._file.transaction() as connection:
            spool_bounds.move_watermark(connection, watermark)
            connection.execute("UPDATE spool SET offered = ?", (watermark,))
            failpoints.reach("agent.resume.before_commit", error=sqlite3.OperationalError)

    def acknowledge(self, watermark: int) -> None:
        """Everything up to `watermark` is durable at the collector.

        Raises ProtocolError for what was not sent.
        """
        with self._file.transaction() as connection:
            spool = connection.execute(
                "SELECT watermark, offered, clock_offset_seconds FROM spool"
            ).fetchone()
            if watermark > spool["offered"]:
                raise ProtocolError(
                    f"The collector acknowledged {watermark}, but only {spool['offered']} was sent."
                )
            if watermark > spool["watermark"]:
                spool_bounds.move_watermark(connection, watermark)
            connection.execute("UPDATE spool SET acknowledged_at = ?", (time.time(),))
            # A clock that is far ahead, this one or the collector's, makes nothing old.
            ahead = max(0.0, self._clock_step.seconds() - spool["clock_offset_seconds"])
            spool_bounds.prune(connection, self._bounds, now=time.time() - ahead)
            failpoints.reach("agent.acknowledge.before_commit", error=sqlite3.OperationalError)
        failpoints.reach("agent.acknowledge.after_commit", error=SpoolError)

    def reject(self, sequence: int, *, reason: str) -> None:
        """Put a record that the collector refused among the dead letters, once."""
        with self._file.transaction() as connection:
            row = connection.execute(
                "SELECT record FROM record WHERE sequence = ? AND is_rejected = 0 AND dropped = 0",
                (sequence,),
            ).fetchone()
            if row is None:
                return
            record_id = record_pb2.Record.FromString(row["record"]).record_id
            connection.execute("UPDATE record SET is_rejected = 1 WHERE sequence = ?", (sequence,))
            connection.execute("UPDATE spool SET rejected = rejected + 1")
            connection.execute(
                "INSERT OR REPLACE INTO dead_letter"
                " (record_id, spool_id, sequence, reason, record, rejected_at)"
                " SELECT ?, spool_id, ?, ?, ?, ? FROM spool",
                (record_id, sequence, reason, row["record"], time.time()),
            )
            failpoints.reach("agent.reject.before_commit", error=sqlite3.OperationalError)
        failpoints.reach("agent.reject.after_commit", error=SpoolError)

    def fork(self, collector_watermark: int) -> str:
        """Go on under a new spool id with what the collector may lack; returns that id.

        Shared is what both had: up to the lower of this copy's watermark and the collector's.
        """
        with self._file.transaction() as connection:
            shared = min(self.marks().watermark, collector_watermark)
            spool_id = spool_fork.fork(connection, shared_sequence=shared)
            failpoints.reach("agent.fork.before_commit", error=sqlite3.OperationalError)
        failpoints.reach("agent.fork.after_commit", error=SpoolError)
        return spool_id

    def marks(self) -> Marks:
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT spool_id, machine_id, last_sequence, watermark, acknowledged_at,"
                " ifnull((SELECT min(sequence - max(dropped - 1, 0)) FROM record"
                "  WHERE sequence = (SELECT min(sequence) FROM record)), 0) AS first_sequence FROM spool"
            ).fetchone()
        return Marks(**dict(row))

    def ledger(self) -> agent_service_pb2.Ledger:
        """Totals since this spool began: minted = stored + rejected + waiting + dropped."""
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT last_sequence, watermark, rejected, dropped,"
                " (SELECT ifnull(sum(is_rejected), 0) FROM record WHERE is_rejected = 1"
                "  AND sequence > watermark) AS rejected_above,"
                " (SELECT ifnull(sum(record.dropped), 0) FROM record WHERE record.dropped > 0"
                "  AND sequence > watermark) AS dropped_above FROM spool"
            ).fetchone()
        waiting = row["last_sequence"] - row["watermark"] - row["rejected_above"] - row["dropped_above"]
        return agent_service_pb2.Ledger(
            minted=row["last_sequence"],
            stored=row["last_sequence"] - waiting - row["rejected"] - row["dropped"],
            rejected=row["rejected"],
            waiting=waiting,
            dropped=row["dropped"],
        )

    def oldest_waiting_at(self) -> float | None:
        """When the oldest record that waits was spooled, Unix seconds; None where none waits."""
        with self._file.reading() as connection:
            row = connection.execute(
                "SELECT min(spooled_at) AS oldest FROM record WHERE sequence > (SELECT watermark FROM spool)"
                " AND is_rejected = 0 AND dropped = 0"
            ).fetchone()
        oldest: float | None = row["oldest"]
        return oldest

    def record_bytes(self) -> int:
        """Of all records that it holds."""
        with self._file.reading() as connection:
            return int(connection.execute("SELECT record_bytes FROM spool").fetchone()[0])

    def is_delivered(self) -> bool:
        """Whether the collector has acknowledged everything."""
        marks = self.marks()
        return marks.watermark == marks.last_sequence

    def unfinished(self) -> list[journal.Unfinished]:
        """Runs, checks and commands that began and have no end yet."""
        with self._file.reading() as connection:
            return journal.unfinished(connection)

    def records(self) -> Iterator[record_pb2.Record]:
        """Everything that it still holds, oldest first, but for tombstones."""
        with self._file.reading() as connection:
            rows = connection.execute("SELECT record FROM record WHERE dropped = 0 ORDER BY sequence")
            for row in rows:
                yield record_pb2.Record.FromString(row["record"])

    def dead_letters(self) -> list[DeadLetter]:
        with self._file.reading() as connection:
            rows = connection.execute("SELECT * FROM dead_letter ORDER BY rejected_at").fetchall()
        return [_dead_letter(row) for row in rows]

    def retry_dead_letters(self, record_ids: Sequence[str] = ()) -> int:
        """Spool them once more under their ids, those named or all; returns how many."""
        with self._file.transaction() as connection:
            letters = connection.execute(
                "SELECT record_id, record FROM dead_letter ORDER BY rejected_at"
            ).fetchall()
            chosen = [letter for letter in letters if not record_ids or letter["record_id"] in record_ids]
            for letter in chosen:
                record = record_pb2.Record.FromString(letter["record"])
                record.machine_id = self.marks().machine_id
                self._insert(connection, [record], [record.SerializeToString()])
                connection.execute("DELETE FROM dead_letter WHERE record_id = ?", (letter["record_id"],))
        return len(chosen)

    def note_clock_offset(self, seconds: float) -> None:
        """Collector's clock minus this machine's, stamped on the records that follow.

        Less what this machine's clock is set forward by from now on.
        """
        with self._file.transaction() as connection:
            self._clock_step.forget()
            connection.execute("UPDATE spool SET clock_offset_seconds = ?", (seconds,))

    def _append(self, connection: sqlite3.Connection, records: Sequence[record_pb2.Record]) -> int:
        """Returns the sequence of the last, 0 for no records."""
        spool = connection.execute("SELECT machine_id, clock_offset_seconds FROM spool").fetchone()
        offset = spool["clock_offset_seconds"] - self._clock_step.seconds()
        contents = [_stamped(record, machine_id=spool["machine_id"], offset=offset) for record in records]
        sequence = self._insert(connection, records, contents)
        for record in records:
            journal.note(connection, record)
        return sequence

    def _insert(
        self,
        connection: sqlite3.Connection,
        records: Sequence[record_pb2.Record],
        contents: Sequence[bytes],
    ) -> int:
        spool = connection.execute("SELECT machine_id, last_sequence, record_bytes FROM spool").fetchone()
        rows = [
            (sequence, content, record_size.has_trials(record))
            for sequence, (record, content) in enumerate(
                zip(records, contents, strict=True), int(spool["last_sequence"]) + 1
            )
        ]
        fits = spool["record_bytes"] + sum(map(len, contents)) <= self._bounds.total_bytes
        for part in [rows] if fits else [[row] for row in rows]:
            needed = sum(len(content) for _, content, _ in part)
            spool_bounds.make_room(connection, self._bounds, needed=needed, machine_id=spool["machine_id"])
            spool_rows.insert_all(connection, part, spooled_at=time.time())
            if part:
                connection.execute("UPDATE spool SET last_sequence = ?", (part[-1][0],))
        return rows[-1][0] if rows else 0

    @staticmethod
    def _digest_at(connection: sqlite3.Connection, sequence: int) -> bytes | None:
        if sequence == 0:
            return GENESIS
        row = connection.execute("SELECT digest FROM record WHERE sequence = ?", (sequence,)).fetchone()
        digest: bytes | None = row["digest"] if row else None
        return digest


def _chained(digest: bytes, rows: Sequence[tuple[int, bytes]]) -> Iterator[tuple[bytes, int]]:
    for number, content in rows:
        digest = hashlib.sha256(digest + content).digest()
        yield digest, number


def _dead_letter(row: sqlite3.Row) -> DeadLetter:
    return DeadLetter(
        record_id=row["record_id"],
        spool_id=row["spool_id"],
        sequence=row["sequence"],
        kind=record_pb2.Record.FromString(row["record"]).WhichOneof("kind") or "unknown",
        reason=row["reason"],
        rejected_at=row["rejected_at"],
    )


def _stamped(record: record_pb2.Record, *, machine_id: str, offset: float) -> bytes:
    """The record as it will be delivered, with what the caller left to the spool."""
    record.record_id = record.record_id or new_id()
    record.machine_id = machine_id
    record.clock_offset_seconds = offset
    if not record.HasField("measured_at"):
        record.measured_at.GetCurrentTime()
    try:
        content = record.SerializeToString()
    except protobuf.EncodeError as error:
        raise RecordTooLargeError(
            f"A {record.WhichOneof('kind')} record cannot be written: {error}."
        ) from error
    if len(content) > MAX_RECORD_BYTES:
        raise RecordTooLargeError(
            f"A {record.WhichOneof('kind')} record has {len(content):,} bytes; "
            f"at most {MAX_RECORD_BYTES:,} fit."
        )
    return content
