"""The copy of the audit in the store, where SQL sees it: rows are added, and nothing else happens to it."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.storage.store import Store

AT_ONCE = 10_000
COLUMNS = ("happened_at", "action", "subject", "detail", "actor", "origin", "outcome")
INSERT = """
INSERT INTO store.audit BY NAME
SELECT unnest($numbers::BIGINT[]) AS audit_no,
       make_timestamptz(unnest($happened_at::BIGINT[])) AS happened_at,
       unnest($action::VARCHAR[]) AS action, unnest($subject::VARCHAR[]) AS subject,
       unnest($detail::VARCHAR[]) AS detail, unnest($actor::VARCHAR[]) AS actor,
       unnest($origin::VARCHAR[]) AS origin, unnest($outcome::VARCHAR[]) AS outcome
"""


async def bring_up(identity: Identity, store: Store) -> int:
    """Adds what is new; rows added.  A database that was restored gets again what it lacks."""
    added = 0
    while True:
        last = await asyncio.to_thread(last_copied, store)
        rows = await asyncio.to_thread(after, identity, last)
        if not rows:
            return added
        await asyncio.wrap_future(store.request(functools.partial(add, rows=rows)))
        added += len(rows)


def last_copied(store: Store) -> int:
    with store.reader() as connection:
        ((number,),) = connection.execute("SELECT coalesce(max(audit_no), 0) FROM store.audit").fetchall()
    return int(number)


def after(identity: Identity, number: int) -> list[tuple[object, ...]]:
    query = f"SELECT rowid, {', '.join(COLUMNS)} FROM audit WHERE rowid > ? ORDER BY rowid LIMIT {AT_ONCE}"  # noqa: S608 (constants)
    with identity.reading() as connection:
        return connection.execute(query, (number,)).fetchall()


def add(connection: duckdb.DuckDBPyConnection, *, rows: list[tuple[object, ...]]) -> None:
    columns = dict(zip(("numbers", *COLUMNS), map(list, zip(*rows, strict=True)), strict=True))
    connection.execute(INSERT, columns)
