"""Ingest: one delivered record becomes typed rows, or a reason why it can never be accepted.

Pure: no clock, no files, no database.  Only this module may reject a record;
it judges the record alone, never the state of the store.  What a newer agent
sends beyond the revision spoken here is kept raw beside the rows that are
understood, and read again by a newer collector.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError
from llmenv.fleet.v1 import record_pb2

from llmenv_collector import clock
from llmenv_collector.delivery import rows

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

    from llmenv_collector.delivery.rows import Row

PROTOCOL_REVISION = 1
OLDEST_PROTOCOL_REVISION = 1
MAX_RECORD_BYTES = 1 << 20
MAX_RECORD_ROWS = 1 << 16  # no row that says something takes less than 16 bytes of a record
OF_ANOTHER_MACHINE = "The record is of machine"
"""Begins the reason of a record that another machine is said to have made."""
MAX_SHOWN = 64
EARLIEST_SECONDS = -62_135_596_800  # 0001-01-01, as google.protobuf.Timestamp allows
LATEST_SECONDS = 253_402_300_799  # 9999-12-31


class Cause(StrEnum):
    """Why records are refused, in the few words that can be counted."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    """Not a serialised Record."""
    FOREIGN = "foreign"
    """Of another machine than the certificate's."""
    INVALID = "invalid"
    """A field has a value that it cannot have."""
    UNSTORABLE = "unstorable"
    """The database refuses a value."""


@dataclass(frozen=True)
class Arrival:
    """A record as it came, with what is known of its sender."""

    spool_id: str
    machine_id: str
    """From the certificate."""
    protocol_revision: int
    """Highest that the agent speaks."""
    sequence: int
    record: bytes
    received_at: int
    """Collector's clock, microseconds since 1970."""


@dataclass(frozen=True)
class Reading:
    """What an arrival means.  Either `reason` is set, or `rows` are to be stored."""

    arrival: Arrival
    record_id: str
    first_sequence: int
    """Lowest sequence that it covers; below `arrival.sequence` for a tombstone alone."""
    rows: tuple[Row, ...] = ()
    reason: str = ""
    cause: Cause | None = None
    is_tombstone: bool = False
    previous_spool_id: str = ""
    message: record_pb2.Record = field(default_factory=record_pb2.Record, repr=False)


class UnacceptableError(ValueError):
    """One sentence why a record can never be accepted."""

    def __init__(self, sentence: str, cause: Cause = Cause.INVALID) -> None:
        super().__init__(sentence)
        self.cause = cause


def read(arrival: Arrival) -> Reading:
    """Never raises: a record that cannot be accepted becomes a Reading with its reason."""
    record = record_pb2.Record()
    try:
        parse(arrival.record, into=record)
        is_whole = discard_unknown(record)
        check(record, arrival)
        derived = tuple(derive(record, arrival, is_whole=is_whole))
    except UnacceptableError as error:
        return Reading(
            arrival,
            record.record_id[:MAX_SHOWN],
            arrival.sequence,
            reason=str(error),
            cause=error.cause,
        )
    is_tombstone = record.WhichOneof("kind") == "tombstone"
    return Reading(
        arrival,
        record.record_id,
        record.tombstone.first_sequence if is_tombstone else arrival.sequence,
        rows=derived,
        is_tombstone=is_tombstone,
        previous_spool_id=record.spool_forked.previous_spool_id,
        message=record,
    )


def reject(arrival: Arrival, reason: str) -> Reading:
    """For a record that the database itself refuses as a value."""
    original = read(arrival)
    return Reading(
        arrival, original.record_id, original.first_sequence, reason=reason, cause=Cause.UNSTORABLE
    )


def parse(serialised: bytes, *, into: record_pb2.Record) -> None:
    if len(serialised) > MAX_RECORD_BYTES:
        raise UnacceptableError(
            f"The record has {len(serialised)} bytes; at most {MAX_RECORD_BYTES} are accepted.",
            Cause.TOO_LARGE,
        )
    try:
        into.ParseFromString(serialised)
    except DecodeError as error:
        raise UnacceptableError(
            "The record is not a serialised llmenv.fleet.v1.Record.", Cause.MALFORMED
        ) from error


def discard_unknown(record: record_pb2.Record) -> bool:
    """Whether there was nothing unknown in it, at any depth."""
    whole = record.ByteSize()
    record.DiscardUnknownFields()
    return record.ByteSize() == whole


def check(record: record_pb2.Record, arrival: Arrival) -> None:
    """What is asked of every record, whatever its kind."""
    require_uuid(record.record_id, "record_id")
    if record.machine_id != arrival.machine_id:
        raise UnacceptableError(
            f"{OF_ANOTHER_MACHINE} {record.machine_id[:MAX_SHOWN] or '(none)'},"
            f" the certificate of {arrival.machine_id}.",
            Cause.FOREIGN,
        )
    require_time(record.measured_at, "measured_at")
    CHECKS.get(record.WhichOneof("kind") or "", accept)(record, arrival)


def derive(record: record_pb2.Record, arrival: Arrival, *, is_whole: bool) -> list[Row]:
    """All rows of an acceptable record."""
    origin = rows.Origin(
        record_id=record.record_id,
        machine_id=arrival.machine_id,
        spool_id=arrival.spool_id,
        sequence=arrival.sequence,
        measured_at=clock.from_timestamp(record.measured_at) if record.HasField("measured_at") else None,
        received_at=arrival.received_at,
    )
    kind = record.WhichOneof("kind")
    result = [] if kind == "tombstone" else [rows.record_row(record, origin)]
    if kind is None or not is_whole or arrival.protocol_revision > PROTOCOL_REVISION:
        result.append(rows.raw_row(arrival.record, origin, protocol_revision=arrival.protocol_revision))
    if kind is not None:
        result.extend(islice(rows.OF_KIND[kind](getattr(record, kind), origin), MAX_RECORD_ROWS + 1))
    if len(result) > MAX_RECORD_ROWS:
        raise UnacceptableError(f"The record would leave more than {MAX_RECORD_ROWS} rows.", Cause.TOO_LARGE)
    return result


def accept(record: record_pb2.Record, arrival: Arrival) -> None:
    """Nothing more is asked of this kind."""


def check_run_started(record: record_pb2.Record, _arrival: Arrival) -> None:
    run = record.run_started.run
    require_uuid(run.run_id, "run_started.run.run_id")
    require_time(run.started_at, "run_started.run.started_at")
    require_time(run.ended_at, "run_started.run.ended_at")
    if run.schedule_id:
        require_uuid(run.schedule_id, "run_started.run.schedule_id")


def check_check_started(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_uuid(record.check_started.run_id, "check_started.run_id")
    require_uuid(record.check_started.result_id, "check_started.result_id")


def check_check_finished(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_uuid(record.check_finished.run_id, "check_finished.run_id")
    require_uuid(record.check_finished.result.result_id, "check_finished.result.result_id")
    require_time(record.check_finished.result.started_at, "check_finished.result.started_at")


def check_case_batch(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_uuid(record.case_batch.run_id, "case_batch.run_id")
    require_uuid(record.case_batch.result_id, "case_batch.result_id")


def check_remedy_tried(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_uuid(record.remedy_tried.run_id, "remedy_tried.run_id")
    require_uuid(record.remedy_tried.result_id, "remedy_tried.result_id")


def check_run_finished(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_uuid(record.run_finished.run_id, "run_finished.run_id")
    require_time(record.run_finished.ended_at, "run_finished.ended_at")


def check_command_outcome(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_uuid(record.command_outcome.command_id, "command_outcome.command_id")
    if record.command_outcome.run_id:
        require_uuid(record.command_outcome.run_id, "command_outcome.run_id")


def check_suite_waited(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_time(record.suite_waited.due_at, "suite_waited.due_at")


def check_schedule_change(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_uuid(record.schedule_change.schedule_id, "schedule_change.schedule_id")


def check_quarantine_change(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_time(record.quarantine_change.until, "quarantine_change.until")


def check_tombstone(record: record_pb2.Record, arrival: Arrival) -> None:
    first, last = record.tombstone.first_sequence, record.tombstone.last_sequence
    if not 0 < first <= last or last != arrival.sequence:
        raise UnacceptableError(
            f"The tombstone covers {first} to {last} and has sequence {arrival.sequence};"
            " it must have the last one that it covers."
        )


def check_spool_forked(record: record_pb2.Record, _arrival: Arrival) -> None:
    require_uuid(record.spool_forked.previous_spool_id, "spool_forked.previous_spool_id")


CHECKS = {
    "run_started": check_run_started,
    "check_started": check_check_started,
    "check_finished": check_check_finished,
    "case_batch": check_case_batch,
    "remedy_tried": check_remedy_tried,
    "run_finished": check_run_finished,
    "command_outcome": check_command_outcome,
    "suite_waited": check_suite_waited,
    "schedule_change": check_schedule_change,
    "quarantine_change": check_quarantine_change,
    "tombstone": check_tombstone,
    "spool_forked": check_spool_forked,
}


def require_uuid(text: str, name: str) -> None:
    if not is_uuid(text):
        raise UnacceptableError(
            f"{name} is {text[:MAX_SHOWN]!r}, which is not a UUID in lower case with hyphens."
        )


def is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def require_time(timestamp: Timestamp, name: str) -> None:
    is_in_range = EARLIEST_SECONDS <= timestamp.seconds <= LATEST_SECONDS
    if not is_in_range or not 0 <= timestamp.nanos < 1_000_000_000:
        raise UnacceptableError(f"{name} is outside the years 1 to 9999.")
