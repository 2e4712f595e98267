"""Ingest: one delivered record is read, or there is a reason why it can never be accepted.

Pure: no clock, no files, no database.  Only this module may reject a record;
it judges the record alone, never the state of the store.  What a newer agent
sends beyond the revision spoken here is kept raw beside the rows that are
understood, and read again by a newer collector.
"""

from __future__ import annotations

from typing import NamedTuple

from llmenv.fleet.v1 import record_pb2

from llmenv_collector import clock
from llmenv_collector.delivery.acceptance import (
    MAX_SHOWN,
    Cause,
    UnacceptableError,
    check,
    count_rows,
    parse,
    require_few_rows,
)

PROTOCOL_REVISION = 1
OLDEST_PROTOCOL_REVISION = 1


class Arrival(NamedTuple):
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


class Reading(NamedTuple):
    """What an arrival means.  Either `reason` is set, or `content` is to be stored."""

    arrival: Arrival
    record_id: str
    first_sequence: int
    """Lowest sequence that it covers; below `arrival.sequence` for a tombstone alone."""
    reason: str = ""
    cause: Cause | None = None
    kind: str = ""
    """The field of Record that is set; empty for one that is not known here."""
    content: bytes = b""
    """The Record as far as it is known here, serialised."""
    measured_at: int | None = None
    """Machine's clock, microseconds since 1970."""
    clock_offset_seconds: float = 0.0
    rows: int = 0
    """What it may leave in the store beside itself, a count."""
    is_raw: bool = False
    """There is more in it than is known here."""
    is_repeated_end: bool = False
    """Of what it says, only that it came is kept: see copies.py."""
    dropped_records: int = 0
    """Of a tombstone."""
    previous_spool_id: str = ""
    """Of a spool that continues a copied one."""
    previous_answered: int = 0
    """Of that one: what both copies had, and what a restored collector lost after that."""

    @property
    def is_tombstone(self) -> bool:
        return self.kind == "tombstone"


def read(arrival: Arrival) -> Reading:
    """Never raises: a record that cannot be accepted becomes a Reading with its reason."""
    record = record_pb2.Record()
    try:
        parse(arrival.record, into=record)
        record.DiscardUnknownFields()
        check(record, arrival)
        rows = count_rows(record)
        require_few_rows(rows)
    except UnacceptableError as error:
        return Reading(
            arrival,
            record.record_id[:MAX_SHOWN],
            arrival.sequence,
            reason=str(error),
            cause=error.cause,
        )
    kind = record.WhichOneof("kind") or ""
    # Of the same length it is what came: whoever hides one field by writing another too short has lost it.
    is_whole = record.ByteSize() == len(arrival.record)
    reading = Reading(
        arrival,
        record.record_id,
        arrival.sequence,
        kind=kind,
        content=arrival.record if is_whole else record.SerializeToString(),
        measured_at=clock.from_timestamp(record.measured_at) if record.HasField("measured_at") else None,
        clock_offset_seconds=record.clock_offset_seconds,
        rows=rows,
        is_raw=not kind
        or arrival.protocol_revision > PROTOCOL_REVISION
        or (not is_whole and has_unknown(arrival.record, record)),
    )
    return OF_ITS_SPOOL[kind](reading, record) if kind in OF_ITS_SPOOL else reading


def has_unknown(serialised: bytes, known: record_pb2.Record) -> bool:
    """Whether there was more in it than `known`."""
    return record_pb2.Record.FromString(serialised).ByteSize() != known.ByteSize()


def of_tombstone(reading: Reading, record: record_pb2.Record) -> Reading:
    tombstone = record.tombstone
    return reading._replace(
        first_sequence=tombstone.first_sequence, dropped_records=tombstone.dropped_records
    )


def of_spool_forked(reading: Reading, record: record_pb2.Record) -> Reading:
    forked = record.spool_forked
    return reading._replace(
        previous_spool_id=forked.previous_spool_id,
        previous_answered=forked.shared_sequence + forked.lost_records,
    )


OF_ITS_SPOOL = {"tombstone": of_tombstone, "spool_forked": of_spool_forked}
"""Kinds that say something of the spool itself."""


def reject(arrival: Arrival, reason: str) -> Reading:
    """For a record that the database itself refuses as a value."""
    original = read(arrival)
    return Reading(
        arrival, original.record_id, original.first_sequence, reason=reason, cause=Cause.UNSTORABLE
    )
