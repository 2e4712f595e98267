"""What keeps a lake small and quick to ask, done by one of its collectors while all go on delivering.

Rows that were superseded are folded, small files become large ones, old snapshots and the files that nobody
needs any more go.  Each step is a transaction; one that collides with another collector is done next time.
"""

from __future__ import annotations

import logging
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import duckdb

from llmenv_collector.delivery.group import first_line
from llmenv_collector.errors import StoreError
from llmenv_collector.lake.fence import Fence
from llmenv_collector.lake.folds import FOLDED
from llmenv_collector.lake.place import LAKE
from llmenv_collector.lake.writing import Writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_collector.lake.election import Election
    from llmenv_collector.lake.place import Place

logger = logging.getLogger(__name__)

ROUND_SECONDS = 300.0
KEPT = "INTERVAL 1 DAY"
"""So long an old state of the lake can be read, and a file that is not needed any more lies there for those
who still read it."""
REWRITE_SHARE = 0.3
"""A file is written anew when so much of it was deleted."""


SUPERSEDED = {
    "machine": "(machine_id, rowid) NOT IN (SELECT machine_id, max(rowid) FROM lake.store.machine GROUP BY 1)"
}
"""Where the order of rows counts, those that count stay where they are: what comes meanwhile is newer."""


def fold(table: str) -> list[str]:
    """Statements that leave one row a key, as readers see it."""
    stored = f"{LAKE}.store.{table}"
    if table in SUPERSEDED:
        return [f"DELETE FROM {stored} WHERE {SUPERSEDED[table]}"]  # noqa: S608 (our own names)
    return [
        f"CREATE OR REPLACE TEMP TABLE folded AS {FOLDED[table]}",
        f"DELETE FROM {stored}",  # noqa: S608 (our own names)
        f"INSERT INTO {stored} BY NAME SELECT * FROM folded",  # noqa: S608 (our own names)
    ]


def folds(connection: Writing) -> Iterator[list[str]]:
    """Of tables in which most rows are superseded."""
    for table, folded in FOLDED.items():
        stored = f"{LAKE}.store.{table}"
        query = f"SELECT count(*) > 2 * (SELECT count(*) FROM ({folded})) FROM {stored}"  # noqa: S608 (our own)
        if connection.execute(query).fetchall() == [(True,)]:
            yield fold(table)


COMPACTION = (
    f"CALL ducklake_rewrite_data_files('{LAKE}', delete_threshold => {REWRITE_SHARE})",
    f"CALL ducklake_merge_adjacent_files('{LAKE}')",
    f"CALL ducklake_expire_snapshots('{LAKE}', older_than => now() - {KEPT})",
    f"CALL ducklake_cleanup_old_files('{LAKE}', older_than => now() - {KEPT})",
    f"CALL ducklake_delete_orphaned_files('{LAKE}', older_than => now() - {KEPT})",
)


def keep_house(place: Place) -> list[str]:
    """One round; what could not be done, a sentence each.  Raises StoreError where there is no lake."""
    with closing(Fence(place)) as fence, closing(Writing(place, fence)) as connection:
        try:
            steps = [*folds(connection), *([statement] for statement in COMPACTION)]
        except duckdb.Error as error:
            raise StoreError(f"The lake could not be read: {first_line(error)}") from error
        return [failure for step in steps if (failure := carry_out(connection, step))]


def carry_out(connection: Writing, step: list[str]) -> str:
    """Why it could not be done, one sentence; empty when it was."""

    def act(own: duckdb.DuckDBPyConnection) -> None:
        for statement in step:
            own.execute(statement)

    try:
        connection.act(act)
    except (duckdb.Error, StoreError) as error:
        return first_line(error)
    return ""


class Housekeeper:
    """Keeps house whenever it is elected, until end()."""

    def __init__(self, place: Place, election: Election, *, round_seconds: float = ROUND_SECONDS) -> None:
        self._place = place
        self._election = election
        self._round_seconds = round_seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lake-housekeeper", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """A round under way is not waited for: what it has not committed is not there."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(self._round_seconds):
            if self._election.is_elected:
                self._round()

    def _round(self) -> None:
        try:
            for failure in keep_house(self._place):
                logger.info("put off to the next round of compaction: %s", failure)
        except StoreError as error:
            logger.warning("the lake is not compacted: %s", error)
