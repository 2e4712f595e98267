"""One group of deliveries becomes one transaction.

Inside the transaction the watermarks are read, compared and advanced together
with the rows, so a record is stored exactly once however often it is sent.
A group that DuckDB refuses for what is in it is halved until the record at
fault stands alone; that one is stored as a rejection.  A group of too many rows
is halved too, so that what agents send bounds what its storing takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
from llmenv import failpoints

from llmenv_collector.delivery import copies, naming, run_tables
from llmenv_collector.delivery.environments import Environments
from llmenv_collector.delivery.sieve import DAY_TOTALS, day_rows, outcome_of, rejection_row, sieve
from llmenv_collector.delivery.sighting import merged_sightings
from llmenv_collector.delivery.tables import TooManyRowsError, tables_of
from llmenv_collector.delivery.transaction import FileTransactions
from llmenv_collector.serving import metrics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmenv_collector.delivery.ingest import Arrival, Reading
    from llmenv_collector.delivery.sieve import Outcome, Sieved
    from llmenv_collector.delivery.sighting import Sighting
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


class GroupWriter:
    """Commits groups on the one connection that may write."""

    is_alone = True
    """Nobody else writes to the store."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, transactions: Transactions | None = None
    ) -> None:
        """`transactions` are those of a file unless others are given."""
        self._connection = connection
        self._transactions = transactions or FileTransactions(connection)
        self._tables = self._transactions.tables
        self._environments = Environments(connection, self._tables, remember=self.is_alone)
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

    def look_again(self) -> None:
        """Something else has changed what is stored."""
        self._environments.look_again()

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
        self._environments.begin()
        with self._transactions.begun(spools_of(arrivals)) as known:
            sieved = sieve(arrivals, known, refusal=refusal)
            self._write(sieved)
            self._write_sightings(sightings)
            if sieved.readings:
                failpoints.reach("collector.commit.before", error=duckdb.IOException)
        self._environments.are_durable()
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
            marks[spool_id].repeated += repeated
        rejections = [rejection_row(reading) for reading in sieved.readings if reading.reason]
        if rejections:
            failpoints.reach("collector.reject", error=duckdb.IOException)
            self._tables.insert("rejection", self._tables.of_rows("rejection", rejections))
        self._count_day(sieved)
        self._transactions.advance(sieved.before, marks.values())

    def _count_day(self, sieved: Sieved) -> None:
        """Totals by machine and day, kept when rows are not."""
        self._tables.merge(
            "delivery_day",
            self._tables.of_rows("delivery_day", day_rows(sieved)),
            key=("machine_id", "day"),
            updates={name: f"old.{name} + new.{name}" for name in DAY_TOTALS},
        )

    def _insert_rows(self, readings: Sequence[Reading]) -> None:
        tables = tables_of([one for one in readings if not one.reason], most_rows=MAX_GROUP_ROWS)
        self._environments.insert(tables.pop("environment", None), tables.pop("environment_package", None))
        self._merge_machines(tables.pop("machine", None))
        for name, table in tables.items():
            self._tables.insert(name, naming.named(table, self._names) if name == "run" else table)

    def _merge_machines(self, machines: pa.Table | None) -> None:
        if machines is not None:
            self._tables.merge("machine", naming.named(machines, self._names), key="machine_id")

    def _write_sightings(self, sightings: Sequence[Sighting]) -> None:
        facts = {one.machine_id: one.facts for one in sightings if one.facts}
        if facts:
            self._merge_machines(run_tables.of_known_machines(facts))
        ledgers = [one.ledger for one in sightings if one.ledger]
        self._tables.merge("spool_ledger", self._tables.of_rows("spool_ledger", ledgers), key="spool_id")
        self._tables.merge(
            "machine_sighting",
            self._tables.of_rows("machine_sighting", merged_sightings(sightings)),
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


def count(sieved: Sieved, *, arrivals: int) -> None:
    """Adds a committed group to the metrics."""
    for reading in sieved.readings:
        if reading.cause is not None:
            metrics.REJECTED.labels(reading.cause).inc()
        elif reading.is_tombstone:
            metrics.DROPPED.inc(reading.dropped_records)
    refused_or_dropped = sum(1 for one in sieved.readings if one.cause is not None or one.is_tombstone)
    metrics.STORED.inc(len(sieved.readings) - refused_or_dropped)
    if not sieved.jumps:
        metrics.DUPLICATES.inc(arrivals - len(sieved.readings))


def first_line(error: Exception) -> str:
    """Not all of it: the message may quote the value, however long."""
    return str(error).splitlines()[0][:MAX_LINE] if str(error) else type(error).__name__
