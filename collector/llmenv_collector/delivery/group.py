"""One group of deliveries becomes one transaction.

Inside the transaction the watermarks are read, compared and advanced together
with the rows, so a record is stored exactly once however often it is sent.
A group that DuckDB refuses for what is in it is halved until the record at
fault stands alone; that one is stored as a rejection.  A group of too many rows
is halved too, so that what agents send bounds what its storing takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
from llmenv import failpoints

from llmenv_collector import clock
from llmenv_collector.delivery import copies, ingest, naming
from llmenv_collector.delivery.columns import by_table
from llmenv_collector.delivery.transaction import FileTransactions
from llmenv_collector.delivery.watermark import Watermark
from llmenv_collector.serving import metrics

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from llmenv_collector.delivery.ingest import Arrival, Reading
    from llmenv_collector.delivery.transaction import Transactions

# What DuckDB and Arrow raise for a value that they cannot take.  Everything
# else (a full disk, no memory) is a failure of the store and rejects nothing.
REFUSALS_OF_VALUES = (
    duckdb.DataError,
    duckdb.IntegrityError,
    duckdb.NotSupportedError,
    pa.ArrowInvalid,
    OverflowError,
)
MAX_GROUP_ROWS = 500_000
MAX_LINE = 300
DAY_TOTALS = ("stored", "rejected", "dropped")
CONTENT_ADDRESSED = {"environment": "environment_id", "environment_package": "environment_id"}


class TooManyRowsError(Exception):
    """A group would need more memory than a collector has to spare."""


@dataclass(frozen=True)
class Rejection:
    """A record that was refused for good."""

    sequence: int
    record_id: str
    reason: str


@dataclass(frozen=True)
class Sighting:
    """A machine said something.  Times are microseconds since 1970."""

    machine_id: str
    seen_at: int | None
    agent_version: str = ""
    enrolled_at: int | None = None
    doubled_at: int | None = None
    """Another agent with the machine's identity is at work."""
    facts: dict[str, Any] | None = None
    """A row of store.machine."""
    ledger: dict[str, Any] | None = None
    """A row of store.spool_ledger."""


@dataclass
class Outcome:
    """What became of a group, by spool."""

    watermarks: dict[str, int] = field(default_factory=dict)
    rejections: dict[str, list[Rejection]] = field(default_factory=dict)
    jumps: dict[str, str] = field(default_factory=dict)
    """One sentence for each spool whose sequences do not follow."""

    def update(self, later: Outcome) -> None:
        self.watermarks |= later.watermarks
        self.jumps |= later.jumps
        for spool_id, rejections in later.rejections.items():
            self.rejections.setdefault(spool_id, []).extend(rejections)


@dataclass
class Sieved:
    """Readings that follow their watermarks, and the watermarks before and after them."""

    before: dict[str, Watermark] = field(default_factory=dict)
    watermarks: dict[str, Watermark] = field(default_factory=dict)
    readings: list[Reading] = field(default_factory=list)
    jumps: dict[str, str] = field(default_factory=dict)


class GroupWriter:
    """Commits groups on the one connection that may write."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, transactions: Transactions | None = None
    ) -> None:
        """`transactions` are those of a file unless others are given."""
        self._connection = connection
        self._transactions = transactions or FileTransactions(connection)
        self._tables = self._transactions.tables
        self._names: Mapping[str, str] = naming.read(connection)

    def commit(self, arrivals: Sequence[Arrival], sightings: Sequence[Sighting] = ()) -> Outcome:
        """Durable when it returns.  Raises duckdb.Error when the store, not a record, fails."""
        try:
            return self._transact(arrivals, sightings)
        except (*REFUSALS_OF_VALUES, TooManyRowsError) as error:
            if len(arrivals) < 2:
                return self._transact(
                    arrivals, sightings, refusal=f"The store cannot hold it: {first_line(error)}"
                )
        middle = len(arrivals) // 2
        outcome = self.commit(arrivals[:middle], sightings)
        outcome.update(self.commit(arrivals[middle:]))
        return outcome

    def name(self, names: Mapping[str, str]) -> None:
        """What people call machines from now on, by id."""
        naming.write(self._connection, names)
        self._names = dict(names)

    def replace(self, readings: Sequence[Reading]) -> None:
        """Rows of records that are understood better now take the place of their former ones."""
        records = [[reading.record_id for reading in readings], [one.arrival.machine_id for one in readings]]
        self._connection.execute("BEGIN")
        try:
            for table in self._tables.of_records():
                former = (
                    f"DELETE FROM store.{table} WHERE (record_id, machine_id)"  # noqa: S608 (our own names)
                    " IN (SELECT (unnest(?::UUID[]), unnest(?::UUID[])))"
                )
                self._connection.execute(former, records)
            self._insert_rows(readings)
        except (*REFUSALS_OF_VALUES, duckdb.Error):
            self._connection.execute("ROLLBACK")
            raise
        self._connection.execute("COMMIT")

    def _transact(
        self, arrivals: Sequence[Arrival], sightings: Sequence[Sighting], *, refusal: str = ""
    ) -> Outcome:
        with self._transactions.begun(spools_of(arrivals)) as known:
            sieved = sieve(arrivals, known, refusal=refusal)
            self._write(sieved)
            self._write_sightings(sightings)
            if sieved.readings:
                failpoints.reach("collector.commit.before", error=duckdb.IOException)
        count(sieved, arrivals=len(arrivals))
        if sieved.readings:
            failpoints.reach("collector.commit.after", error=duckdb.IOException)
        return outcome_of(sieved)

    def _write(self, sieved: Sieved) -> None:
        if not sieved.readings:
            return
        marks = sieved.watermarks
        identities = copies.copied(self._transactions.copied(), marks.values())
        new = copies.unseen(self._connection, sieved.readings, identities)
        self._insert_rows(new)
        for spool_id, repeated in copies.repeats(sieved.readings, new).items():
            marks[spool_id] = replace(marks[spool_id], repeated=marks[spool_id].repeated + repeated)
        rejections = [rejection_row(reading) for reading in sieved.readings if reading.reason]
        if rejections:
            failpoints.reach("collector.reject", error=duckdb.IOException)
            self._tables.insert("rejection", rejections)
        self._count_day(sieved)
        self._transactions.advance(sieved.before, marks.values())

    def _count_day(self, sieved: Sieved) -> None:
        """Totals by machine and day, kept when rows are not."""
        self._tables.merge(
            "delivery_day",
            day_rows(sieved),
            key=("machine_id", "day"),
            updates={name: f"old.{name} + new.{name}" for name in DAY_TOTALS},
        )

    def _insert_rows(self, readings: Sequence[Reading]) -> None:
        for table, rows in by_table(row for reading in readings for row in reading.rows).items():
            if table in naming.NAMED_TABLES:
                rows = list(naming.named(table, rows, self._names))  # noqa: PLW2901 (the same, named)
            if table == "machine":
                self._tables.merge(table, rows, key="machine_id")
            elif table in CONTENT_ADDRESSED:
                self._tables.insert_new(table, distinct(rows), key=CONTENT_ADDRESSED[table])
            else:
                self._tables.insert(table, rows)

    def _write_sightings(self, sightings: Sequence[Sighting]) -> None:
        facts = (one.facts for one in sightings if one.facts)
        self._tables.merge("machine", naming.named("machine", facts, self._names), key="machine_id")
        self._tables.merge("spool_ledger", (one.ledger for one in sightings if one.ledger), key="spool_id")
        self._tables.merge(
            "machine_sighting",
            merged_sightings(sightings),
            key="machine_id",
            updates={
                "enrolled_at": "coalesce(old.enrolled_at, new.enrolled_at)",
                "last_seen_at": "greatest(old.last_seen_at, new.last_seen_at)",
                "doubled_at": "greatest(old.doubled_at, new.doubled_at)",
                "agent_version": "coalesce(nullif(new.agent_version, ''), old.agent_version)",
            },
        )


def spools_of(arrivals: Sequence[Arrival]) -> dict[str, str]:
    """The machine that delivers each."""
    return {arrival.spool_id: arrival.machine_id for arrival in arrivals}


def sieve(arrivals: Sequence[Arrival], known: dict[str, Watermark], *, refusal: str = "") -> Sieved:
    """Drops duplicates, stops a spool at a jump, and moves the watermarks past the rest.

    Raises TooManyRowsError for what should be stored in several transactions.
    """
    sieved = Sieved(before=known, watermarks=dict(known))
    rows = 0
    for arrival in arrivals:
        spool_id = arrival.spool_id
        mark = sieved.watermarks.get(spool_id) or Watermark(spool_id, arrival.machine_id)
        sieved.watermarks[spool_id] = mark
        if spool_id in sieved.jumps or arrival.sequence <= mark.sequence:
            continue
        reading = ingest.reject(arrival, refusal) if refusal else ingest.read(arrival)
        if not mark.follows(reading):
            sieved.jumps[spool_id] = (
                f"Sequence {arrival.sequence} does not follow {mark.sequence}: send from there."
            )
            continue
        rows += len(reading.rows)
        if rows > MAX_GROUP_ROWS:
            raise TooManyRowsError
        sieved.readings.append(reading)
        sieved.watermarks[spool_id] = mark.after(reading)
    return sieved


def count(sieved: Sieved, *, arrivals: int) -> None:
    """Adds a committed group to the metrics."""
    for reading in sieved.readings:
        if reading.cause is not None:
            metrics.REJECTED.labels(reading.cause).inc()
        elif reading.is_tombstone:
            metrics.DROPPED.inc(reading.message.tombstone.dropped_records)
    refused_or_dropped = sum(1 for one in sieved.readings if one.cause is not None or one.is_tombstone)
    metrics.STORED.inc(len(sieved.readings) - refused_or_dropped)
    if not sieved.jumps:
        metrics.DUPLICATES.inc(arrivals - len(sieved.readings))


def day_rows(sieved: Sieved) -> list[dict[str, Any]]:
    """What the group adds to the day on which it came."""
    totals: dict[tuple[str, dt.date], dict[str, Any]] = {}
    for spool_id, mark in sieved.watermarks.items():
        before = sieved.before.get(spool_id) or Watermark(spool_id, mark.machine_id)
        if mark.sequence == before.sequence:
            continue
        day = clock.day_of(mark.last_received_at)
        row = totals.setdefault(
            (mark.machine_id, day),
            {"machine_id": mark.machine_id, "day": day, **dict.fromkeys(DAY_TOTALS, 0)},
        )
        for name in DAY_TOTALS:
            row[name] += getattr(mark, name) - getattr(before, name)
    return list(totals.values())


def outcome_of(sieved: Sieved) -> Outcome:
    outcome = Outcome(jumps=sieved.jumps)
    outcome.watermarks = {spool_id: mark.sequence for spool_id, mark in sieved.watermarks.items()}
    for reading in sieved.readings:
        if reading.reason:
            rejection = Rejection(reading.arrival.sequence, reading.record_id, reading.reason)
            outcome.rejections.setdefault(reading.arrival.spool_id, []).append(rejection)
    return outcome


def rejection_row(reading: Reading) -> dict[str, Any]:
    arrival = reading.arrival
    return {
        "spool_id": arrival.spool_id,
        "sequence": arrival.sequence,
        "record_id": reading.record_id,
        "machine_id": arrival.machine_id,
        "reason": reading.reason,
        "record": arrival.record,
        "received_at": arrival.received_at,
        "confirmed_at": None,
    }


def merged_sightings(sightings: Sequence[Sighting]) -> list[dict[str, Any]]:
    """One row a machine: the first enrolment, the last time seen, the last version said."""
    merged: dict[str, dict[str, Any]] = {}
    for one in sightings:
        row = merged.setdefault(
            one.machine_id,
            {
                "machine_id": one.machine_id,
                "enrolled_at": None,
                "last_seen_at": None,
                "agent_version": "",
                "doubled_at": None,
            },
        )
        row["enrolled_at"] = row["enrolled_at"] or one.enrolled_at
        row["last_seen_at"] = one.seen_at or row["last_seen_at"]
        row["agent_version"] = one.agent_version or row["agent_version"]
        row["doubled_at"] = one.doubled_at or row["doubled_at"]
    return list(merged.values())


def distinct(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [dict(items) for items in dict.fromkeys(tuple(row.items()) for row in rows)]


def first_line(error: Exception) -> str:
    """Not all of it: the message may quote the value, however long."""
    return str(error).splitlines()[0][:MAX_LINE] if str(error) else type(error).__name__
