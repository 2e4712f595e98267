"""Notices that were told and the changes behind them, which nobody needs when they are old enough.

What decides about later ones stays: the newest change of each check, machine and series, whatever waits, and
what a search for regressions would find again.  A notice goes after the last of its changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.retention.removals import IN_SPAN, Removal, counted

# ruff: noqa: S608 (our own names)

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.retention.removals import Span

A_ROUND = 20_000
"""Changes that go at once, and notices: acknowledgements wait for it."""
FOUND_AGAIN_DAYS = 60
"""Twice as long as the period in which regressions are looked for."""
OLD_CHANGES = f"""
SELECT change_id, noticed_at AS received_at, octet_length(reason) + strlen(detail_json) AS size
FROM (
  SELECT *, row_number() OVER (
    PARTITION BY string_split(kind, '_')[1], machine_id, environment_name, device, check_name, series
    ORDER BY began_at DESC, sequence DESC, kind = 'machine_silent' DESC) = 1 AS is_newest
  FROM store.state_change
) WHERE NOT is_newest AND fate <> 'waiting' AND began_at < now() - INTERVAL {FOUND_AGAIN_DAYS} DAY
"""
OLD_NOTICES = """
SELECT notice_id, made_at AS received_at, coalesce(octet_length(content), 0) AS size FROM store.notice
WHERE notice_id NOT IN (SELECT notice_id FROM store.state_change WHERE notice_id IS NOT NULL)
  AND notice_id NOT IN (SELECT notice_id FROM store.notice_delivery WHERE state = 'waiting')
"""


def remove_notices(connection: duckdb.DuckDBPyConnection, span: Span) -> int:
    """How many rows of changes and notices went; the next round goes on with what is left."""
    changes = removed(connection, "state_change", "change_id", OLD_CHANGES, span)
    notices = removed(connection, "notice", "notice_id", OLD_NOTICES, span)
    if notices:
        connection.execute(
            "DELETE FROM store.notice_delivery WHERE notice_id IN (SELECT notice_id FROM going)"
        )
    return changes + notices


def removed(connection: duckdb.DuckDBPyConnection, table: str, key: str, old: str, span: Span) -> int:
    """Leaves the keys of what went in a temporary table."""
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE going AS SELECT {key} FROM ({old}) WHERE {IN_SPAN}"
        f" ORDER BY received_at LIMIT {A_ROUND}",
        span.parameters(),
    )
    return counted(connection, f"DELETE FROM store.{table} WHERE {key} IN (SELECT {key} FROM going)")


NOTICES = Removal(
    "notices",
    "notice",
    f"SELECT received_at, size FROM ({OLD_CHANGES}) UNION ALL SELECT received_at, size FROM ({OLD_NOTICES})",
    remove_notices,
    looks_back=True,
)
