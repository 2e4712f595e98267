"""What can be removed from the store, from the rows of what was received in a period.

Each is done by the store's writer in a transaction of its own.  No row goes: verdicts, medians, and how many
there were stay, and the views say what is gone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

# ruff: noqa: E501, S608 (expressions are line by line those of the view; names are our own)

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    Remove = Callable[[duckdb.DuckDBPyConnection, "Span"], int]

# As views/measurements.sql has it of trials that are there.
SPREAD = """{
    trials: len(trials)::UINTEGER,
    warmups: len(warmups)::UINTEGER,
    variation: CASE WHEN len(trials) > 1 AND value <> 0 AND list_max([abs(one / value) for one in trials]) < 1e6 THEN
      round(list_stddev_samp([one / value for one in trials]) / nullif(abs(list_avg([one / value for one in trials])), 0), 4) END,
    low: CASE WHEN len(trials) > 5 AND value <> 0 AND list_max([abs(one / value) for one in trials]) < 1e6 THEN
      round(list_sort(trials)[floor((len(trials) + 1 - 1.96 * sqrt(len(trials))) / 2)::INTEGER] / value, 4) END,
    high: CASE WHEN len(trials) > 5 AND value <> 0 AND list_max([abs(one / value) for one in trials]) < 1e6 THEN
      round(list_reverse_sort(trials)[floor((len(trials) + 1 - 1.96 * sqrt(len(trials))) / 2)::INTEGER] / value, 4) END
  }"""
HAS_TRIALS = "spread IS NULL AND (len(trials) > 0 OR len(warmups) > 0)"
HAS_LOG = "log_tail <> ''"
HAS_BYTES = "confirmed_at IS NOT NULL AND octet_length(record) > 0"


@dataclass(frozen=True)
class Span:
    """Received from `since` on and before `until`, microseconds since 1970."""

    since: int
    until: int

    def parameters(self) -> dict[str, int]:
        return {"since": self.since, "until": self.until}


@dataclass(frozen=True)
class Removal:
    what: str
    received: str
    """Table of schema `store` that has the times, a row for each thing received."""
    held: str
    """Of everything that still has what goes: its time, and the bytes of it before compression."""
    remove: Remove
    looks_back: bool = False
    """Whether what a former round had to leave may go later: then each looks at all, in one transaction."""


IN_SPAN = "received_at >= make_timestamptz($since::BIGINT) AND received_at < make_timestamptz($until::BIGINT)"


def remove_trials(connection: duckdb.DuckDBPyConnection, span: Span) -> int:
    """All rows of a record move together, in their order: a run shows its measurements in it."""
    if (records := records_of(connection, span, holding=("measurement", HAS_TRIALS))) is None:
        return 0
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE moved AS SELECT *, rowid AS place FROM store.measurement"
        f" WHERE {records} ORDER BY rowid"
    )
    connection.execute("DELETE FROM store.measurement WHERE rowid IN (SELECT place FROM moved)")
    connection.execute(
        "INSERT INTO store.measurement BY NAME SELECT * EXCLUDE (place) REPLACE ("
        f"CASE WHEN {HAS_TRIALS} THEN {SPREAD} ELSE spread END AS spread,"
        " []::DOUBLE[] AS trials, []::DOUBLE[] AS warmups) FROM moved ORDER BY place"
    )
    removed = counted(connection, f"SELECT count(*) FROM moved WHERE {HAS_TRIALS}")
    connection.execute("DROP TABLE moved")
    return removed


def remove_logs(connection: duckdb.DuckDBPyConnection, span: Span) -> int:
    if (records := records_of(connection, span, holding=("result", HAS_LOG))) is None:
        return 0
    return counted(connection, f"UPDATE store.result SET log_tail = NULL WHERE {HAS_LOG} AND {records}")


def remove_refused(connection: duckdb.DuckDBPyConnection, span: Span) -> int:
    statement = f"UPDATE store.rejection SET record = ''::BLOB WHERE {HAS_BYTES} AND {IN_SPAN}"
    return counted(connection, statement, span.parameters())


def records_of(connection: duckdb.DuckDBPyConnection, span: Span, *, holding: tuple[str, str]) -> str | None:
    """A condition for rows of the records of a span; None where none of them holds what is to go.

    The records lie in a temporary table.  Their ids rise with time, so that bounds spare reading the rest.
    """
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE spanned AS SELECT machine_id, record_id FROM store.record WHERE {IN_SPAN}",
        span.parameters(),
    )
    ((first, last),) = connection.execute(
        "SELECT min(record_id)::VARCHAR, max(record_id)::VARCHAR FROM spanned"
    ).fetchall()
    if first is None:
        return None
    condition = (
        f"record_id BETWEEN '{first}'::UUID AND '{last}'::UUID"
        " AND (machine_id, record_id) IN (SELECT (machine_id, record_id) FROM concerned)"
    )
    table, holds = holding
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE concerned AS SELECT DISTINCT machine_id, record_id FROM store.{table}"
        f" WHERE {holds} AND record_id BETWEEN '{first}'::UUID AND '{last}'::UUID"
        " AND (machine_id, record_id) IN (SELECT (machine_id, record_id) FROM spanned)"
    )
    return condition if counted(connection, "SELECT count(*) FROM concerned") else None


def counted(
    connection: duckdb.DuckDBPyConnection, statement: str, parameters: dict[str, Any] | None = None
) -> int:
    ((count,),) = connection.execute(statement, parameters or {}).fetchall()
    return int(count)


TRIALS = Removal(
    "trials",
    "record",
    "SELECT received_at, 8 * (len(trials) + len(warmups)) AS size"
    f" FROM store.measurement JOIN store.record USING (machine_id, record_id) WHERE {HAS_TRIALS}",
    remove_trials,
)
LOGS = Removal(
    "logs",
    "record",
    "SELECT record.received_at, strlen(log_tail) AS size"
    f" FROM store.result JOIN store.record AS record USING (machine_id, record_id) WHERE {HAS_LOG}",
    remove_logs,
)
REFUSED = Removal(
    "refused",
    "rejection",
    f"SELECT received_at, octet_length(record) AS size FROM store.rejection WHERE {HAS_BYTES}",
    remove_refused,
)
