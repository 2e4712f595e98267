"""The way of one DuckDB to the files of a lake, which is barred while it commits.

When a commit fails, DuckLake removes the files that it has written; also when PostgreSQL did commit, and
only its answer was lost.  The lake would then name files that are gone.  No commit touches a file otherwise,
so what has been written stays where it is, and what nobody needs is removed with the orphans a day later.
"""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from llmenv_collector.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

    from llmenv_collector.lake.place import Place

NOWHERE = "http://127.0.0.1:1"
"""Nobody listens there."""


class Reach:
    """Of one DuckDB alone: others reach the files meanwhile."""

    def __init__(self, place: Place) -> None:
        """Raises StoreError."""
        self._place = place
        self._own = tempfile.TemporaryDirectory(prefix="llmenv-lake-")
        self._link = Path(self._own.name) / "files"
        if place.folder is not None:
            try:
                place.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                self.end()
                raise StoreError(f"{place.folder} cannot be a lake's folder: {error.strerror}.") from error
            self._link.symlink_to(place.folder)

    @property
    def data(self) -> str:
        """Where this DuckDB is told that the files are."""
        return self._place.data if self._place.folder is None else str(self._link)

    @contextmanager
    def barred(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        if self._place.folder is not None:
            self._link.unlink()
            try:
                yield
            finally:
                self._link.symlink_to(self._place.folder)
            return
        ((retries,),) = connection.execute("SELECT current_setting('http_retries')").fetchall()
        connection.execute("SET GLOBAL http_retries = 0")
        connection.execute(self._place.secret_of_bucket(endpoint=NOWHERE))
        try:
            yield
        finally:
            connection.execute(self._place.secret_of_bucket())
            connection.execute(f"SET GLOBAL http_retries = {retries}")

    def end(self) -> None:
        self._own.cleanup()
