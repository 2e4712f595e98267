"""Prepared statements of drivers: their text and the values bound last, until they are closed.

A driver that never closes loses its oldest; a collector that starts again knows none.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmenv.ids import new_id

from llmenv_collector.errors import NotFoundError

MOST_EACH = 64
MOST = 1_024


@dataclass
class Prepared:
    sql: str
    person: str
    arrow_parameters: bytes = b""


class PreparedStatements:
    """Lives in the event loop."""

    def __init__(self) -> None:
        self._open: dict[bytes, Prepared] = {}

    def add(self, sql: str, person: str) -> bytes:
        """Its handle."""
        mine = [handle for handle, one in self._open.items() if one.person == person]
        if len(mine) >= MOST_EACH:
            del self._open[mine[0]]
        elif len(self._open) >= MOST:
            del self._open[next(iter(self._open))]
        handle = new_id().encode()
        self._open[handle] = Prepared(sql, person)
        return handle

    def get(self, handle: bytes, person: str) -> Prepared:
        """One's own.  Raises NotFoundError."""
        found = self._open.get(handle)
        if found is None or found.person != person:
            raise NotFoundError("The prepared statement is not known any more: prepare it again.")
        return found

    def close(self, handle: bytes, person: str) -> None:
        """Also one that is gone already."""
        found = self._open.get(handle)
        if found and found.person == person:
            del self._open[handle]
