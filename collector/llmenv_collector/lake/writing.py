"""What writes into a lake: a connection of DuckDB whose commits either took place or did not.

A commit is PostgreSQL's, whose answer may be lost.  Each one carries a mark, and is looked for by it then.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

import duckdb
from llmenv.ids import new_id

from llmenv_collector.errors import StoreError
from llmenv_collector.lake import connection as lake_connection
from llmenv_collector.lake.place import LAKE
from llmenv_collector.lake.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmenv_collector.lake.fence import Fence
    from llmenv_collector.lake.place import Place

T = TypeVar("T")
CHANGE = "llmenv change"
"""Author of the commits that are no group of deliveries; fence.sql knows it too."""
CONFLICT = "Transaction conflict"
"""What DuckLake says of a commit that it has not even asked PostgreSQL for."""
TRIES = 5
COMMIT_WORDS = ("BEGIN", "COMMIT", "ROLLBACK")


class OvertakenError(StoreError):
    """Another collector has changed the same in the meantime, and nothing of this one stayed."""

    def __init__(self) -> None:
        super().__init__("Another collector was faster, several times: try again.")


class Writing:
    """To those who execute statements a connection as DuckDB's own.  Of one thread."""

    def __init__(
        self, place: Place, fence: Fence, *, readers: duckdb.DuckDBPyConnection | None = None
    ) -> None:
        """`readers` is another DuckDB with the lake, which is never barred from its files."""
        self._fence = fence
        self._readers = readers
        self._reach = Reach(place)
        try:
            self.views = lake_connection.attached(place, data=self._reach.data)
            self._cursor = lake_connection.writing(self.views)
        except BaseException:
            self._reach.end()
            raise
        self._is_acting = False

    def act(self, act: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        """All of it in one transaction, whatever transactions it makes itself; anew when overtaken.

        Groups of deliveries only add rows, and overtake whatever removes some as long as they come.
        """
        with contextlib.suppress(OvertakenError):
            return self._acted(act)
        for _ in range(TRIES - 2):
            with contextlib.suppress(OvertakenError), self._fence.alone():
                return self._acted(act)
        with self._fence.alone():
            return self._acted(act)

    def _acted(self, act: Callable[[duckdb.DuckDBPyConnection], T]) -> T:
        self.begin()
        self._is_acting = True
        try:
            result = act(self)
        except BaseException:
            self.rollback()
            raise
        finally:
            self._is_acting = False
        self.commit()
        return result

    def execute(self, statement: str, parameters: object = None) -> duckdb.DuckDBPyConnection:
        if statement not in COMMIT_WORDS:
            return self._cursor.execute(statement, parameters)
        if not self._is_acting:
            {"BEGIN": self.begin, "COMMIT": self.commit, "ROLLBACK": self.rollback}[statement]()
        return self._cursor

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """To read with, while this one writes."""
        return (self._readers or self.views).cursor()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def begin(self) -> None:
        self._cursor.execute("BEGIN")

    def rollback(self) -> None:
        # A transaction that has ended of itself has none.
        with contextlib.suppress(duckdb.Error):
            self._cursor.execute("ROLLBACK")

    def commit(self, *, author: str = CHANGE, mark: str = "", told: str | None = None) -> None:
        """Raises OvertakenError, duckdb.Error when it did not take place, StoreError when nobody can say."""
        mark = mark or new_id()
        try:
            told_too: Sequence[object] = [author, mark, told]
            self._cursor.execute(f"CALL {LAKE}.set_commit_message(?, ?, extra_info => ?)", told_too)
        except BaseException:
            self.rollback()
            raise
        try:
            with self._reach.barred(self.views):
                committed(self._cursor)
        except duckdb.Error as error:
            if CONFLICT in str(error):
                raise OvertakenError from error
            # Whatever broke the commit may have broken that connection too; its locks have done their part.
            self._fence.close()
            if not self._fence.has(mark):
                raise

    def close(self) -> None:
        self.views.close()
        self._reach.end()


def committed(connection: duckdb.DuckDBPyConnection) -> None:
    """An error says that it was not, or that nobody knows."""
    connection.execute("COMMIT")
