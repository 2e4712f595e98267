"""How far each policy was applied, and what is left to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector import clock
from llmenv_collector.retention.removals import IN_SPAN, Span

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb

    from llmenv_collector.retention.policies import Policy

A_SPAN = 2_000
"""Things received that one transaction is about: acknowledgements wait for it."""


@dataclass(frozen=True)
class Applied:
    """A row of store.retention.  Times are microseconds since 1970."""

    removed_until: int = 0
    removed: int = 0


@dataclass(frozen=True)
class Due:
    """What a policy would remove now."""

    rows: int
    size: int
    """Bytes before compression."""


def applied(connection: duckdb.DuckDBPyConnection, what: str) -> Applied:
    rows = connection.execute(
        "SELECT epoch_us(removed_until), removed FROM store.retention WHERE what = ?", [what]
    ).fetchall()
    return Applied(*rows[0]) if rows else Applied()


def spans(connection: duckdb.DuckDBPyConnection, table: str, whole: Span) -> list[Span]:
    """The whole in parts of about A_SPAN things received, in their order."""
    rows = connection.execute(
        "SELECT DISTINCT epoch_us(received_at) FROM ("  # noqa: S608 (our own names)
        "SELECT received_at, row_number() OVER (ORDER BY received_at) AS number"
        f" FROM store.{table} WHERE {IN_SPAN}) WHERE number % {A_SPAN} = 0 ORDER BY ALL",
        whole.parameters(),
    ).fetchall()
    ends = [end for (end,) in rows if whole.since < end] + [whole.until]
    return [Span(since, until) for since, until in zip([whole.since, *ends], ends, strict=False)]


def due(connection: duckdb.DuckDBPyConnection, policy: Policy, *, now: int) -> Due:
    """Everything that is old enough, also what a round would look for no more."""
    if (until := policy.removes_until(now)) is None:
        return Due(0, 0)
    ((rows, size),) = connection.execute(
        f"SELECT count(*), coalesce(sum(size), 0) FROM ({policy.removal.held}) WHERE {IN_SPAN}",  # noqa: S608 (our own names)
        Span(0, until).parameters(),
    ).fetchall()
    return Due(rows, int(size))


def removing(policy: Policy, span: Span) -> Callable[[duckdb.DuckDBPyConnection], int]:
    """What the store's writer does, in one transaction; how many rows lost something."""

    def remove(connection: duckdb.DuckDBPyConnection) -> int:
        connection.execute("BEGIN")
        try:
            removed = policy.removal.remove(connection, span)
            note(connection, policy, until=span.until, removed=removed)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return removed

    return remove


def note(connection: duckdb.DuckDBPyConnection, policy: Policy, *, until: int, removed: int) -> None:
    """In the caller's transaction."""
    what = policy.removal.what
    before = applied(connection, what)
    connection.execute("DELETE FROM store.retention WHERE what = ?", [what])
    connection.execute(
        "INSERT INTO store.retention BY NAME SELECT $what AS what, $keeps AS keeps_seconds,"
        " make_timestamptz($until::BIGINT) AS removed_until, $removed AS removed,"
        " make_timestamptz($now::BIGINT) AS applied_at",
        {
            "what": what,
            "keeps": policy.keeps_seconds,
            "until": max(until, before.removed_until),
            "removed": before.removed + removed,
            "now": clock.now(),
        },
    )
