"""When each report was last due and what became of it, in the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

LAST = "SELECT epoch_us(max(ended_at)) FROM store.scheduled_report WHERE name = ?"
ADD = """
INSERT INTO store.scheduled_report BY NAME
SELECT $name AS name, make_timestamptz($due_at) AS due_at, make_timestamptz($ended_at) AS ended_at,
       $is_made AS is_made, $outcome AS outcome
"""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """One time at which a report was tried.  Times are microseconds since 1970."""

    name: str
    due_at: int
    ended_at: int
    is_made: bool
    outcome: str
    """Where it is, or why there is none."""


def last_ended(connection: duckdb.DuckDBPyConnection, name: str) -> int | None:
    """None where it never was."""
    ((ended_at,),) = connection.execute(LAST, [name]).fetchall()
    return None if ended_at is None else int(ended_at)


def add(connection: duckdb.DuckDBPyConnection, ended: Ended) -> None:
    connection.execute(ADD, vars(ended))
