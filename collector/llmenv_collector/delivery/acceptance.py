"""What a record must be to be accepted: judged by itself, never by the state of the store."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING

from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.timestamp_pb2 import Timestamp
    from llmenv.fleet.v1 import record_pb2, result_pb2

    from llmenv_collector.delivery.ingest import Arrival

MAX_RECORD_BYTES = 1 << 20
MAX_RECORD_ROWS = 1 << 16
"""No row that says something takes less than 16 bytes of a record."""
OF_ANOTHER_MACHINE = "The record is of machine"
"""Begins the reason of a record that another machine is said to have made."""
MAX_SHOWN = 64
UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
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


class UnacceptableError(ValueError):
    """One sentence why a record can never be accepted."""

    def __init__(self, sentence: str, cause: Cause = Cause.INVALID) -> None:
        super().__init__(sentence)
        self.cause = cause


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


def require_few_rows(rows: int) -> None:
    if rows > MAX_RECORD_ROWS:
        raise UnacceptableError(f"The record would leave more than {MAX_RECORD_ROWS} rows.", Cause.TOO_LARGE)


def count_rows(record: record_pb2.Record) -> int:
    """What is repeated in a record and leaves rows, a count: two bytes of it may be one."""
    match record.WhichOneof("kind"):
        case "check_finished":
            result = record.check_finished.result
            rows = len(result.measurements) + len(result.facts) + len(result.expectations)
            rows += len(result.environment_variables) + len(result.remedy_trials)
            return rows + of_cases(result.cases)
        case "case_batch":
            return of_cases(record.case_batch.cases)
        case "run_started":
            return len(record.run_started.run.environment.packages)
        case "environment_snapshot":
            return len(record.environment_snapshot.environment.packages)
    return 0


def of_cases(cases: Sequence[result_pb2.Case]) -> int:
    return sum(1 + len(case.measurements) + len(case.facts) for case in cases)


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
    return UUID.fullmatch(text) is not None


def require_time(timestamp: Timestamp, name: str) -> None:
    is_in_range = EARLIEST_SECONDS <= timestamp.seconds <= LATEST_SECONDS
    if not is_in_range or not 0 <= timestamp.nanos < 1_000_000_000:
        raise UnacceptableError(f"{name} is outside the years 1 to 9999.")
