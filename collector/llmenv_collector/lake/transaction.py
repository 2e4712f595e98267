"""A group's transaction on a lake that other collectors write to as well.

First the locks, on a connection of our own to PostgreSQL, then the watermarks, then the transaction begins.
Whatever happens to that connection meanwhile, the commit itself compares the watermarks again (see fence.py):
what another collector was faster with is refused whole, and done anew from where it stands then.
"""

from __future__ import annotations

import contextlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.delivery.columns import Tables, last_of_each
from llmenv_collector.delivery.group import GroupWriter
from llmenv_collector.delivery.tables import TooManyRowsError
from llmenv_collector.lake.fence import AUTHOR, Claim
from llmenv_collector.lake.writing import TRIES, OvertakenError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import pyarrow as pa

    from llmenv_collector.delivery.ingest import Arrival
    from llmenv_collector.delivery.sieve import Outcome
    from llmenv_collector.delivery.sighting import Sighting
    from llmenv_collector.delivery.transaction import Known
    from llmenv_collector.delivery.watermark import Watermark
    from llmenv_collector.lake.fence import Fence
    from llmenv_collector.lake.writing import Writing

MAX_MACHINES = 1_000
"""Each takes a lock of a group; PostgreSQL has 6,400 for everybody unless told otherwise."""


class LakeTables(Tables):
    """Adds rows and changes none; the folds take the last of each key, or the sum."""

    def merge(
        self,
        table: str,
        rows: pa.Table,
        *,
        key: str | tuple[str, ...],
        updates: Mapping[str, str] | None = None,  # noqa: ARG002 (the folds have them)
    ) -> None:
        self.insert(table, last_of_each(rows, (key,) if isinstance(key, str) else key))


class LakeTransactions:
    """Of the connection that writes into the lake."""

    def __init__(self, connection: Writing, fence: Fence) -> None:
        self._connection = connection
        self._fence = fence
        self._turns: dict[str, int] = {}
        self._claim: Claim | None = None
        self.tables = LakeTables(connection)

    @contextmanager
    def begun(self, spools: Mapping[str, str]) -> Iterator[Known]:
        """Raises OvertakenError when the whole of it has to be done anew."""
        self._claim = None
        if not spools:
            with self._transaction():
                yield {}
            return
        machines = set(spools.values())
        if len(machines) > MAX_MACHINES:
            raise TooManyRowsError
        with self._fence.turns(machines) as self._turns:
            known = self._fence.watermarks(spools)
            with self._transaction():
                yield known

    def copied(self) -> list[tuple[str, str]]:
        return self._fence.copied()

    def advance(self, before: Mapping[str, Watermark], after: Collection[Watermark]) -> None:
        claim = Claim.of(before, after, self._turns)
        if claim.spools:
            moved = {one["spool_id"] for one in claim.spools}
            rows = [mark.row() for mark in after if mark.spool_id in moved]
            self.tables.insert("watermark", self.tables.of_rows("watermark", rows))
            self._claim = claim

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._connection.begin()
        try:
            yield
        except BaseException:
            self._connection.rollback()
            raise
        if (claim := self._claim) is None:
            self._connection.commit()
            return
        try:
            self._connection.commit(author=AUTHOR, mark=claim.claim_id, told=claim.text())
        except duckdb.Error as error:
            if self._fence.has_overtaken(claim):
                raise OvertakenError from error
            raise


class LakeGroupWriter(GroupWriter):
    """Does a group anew from the watermarks as they are, when another collector was faster."""

    is_alone = False

    def commit(self, arrivals: Sequence[Arrival], sightings: Sequence[Sighting] = ()) -> Outcome:
        for _ in range(TRIES - 1):
            with contextlib.suppress(OvertakenError):
                return super().commit(arrivals, sightings)
        return super().commit(arrivals, sightings)
