"""Notices as people list them: what was told, to whom, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import notice_service_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.notices import delivery_store, payload

if TYPE_CHECKING:
    import duckdb
    from llmenv.catalog.texts import Texts

STATES = {
    delivery_store.WAITING: messages.NoticeDelivery.STATE_WAITING,
    delivery_store.DELIVERED: messages.NoticeDelivery.STATE_DELIVERED,
    delivery_store.TOLD_BEFORE: messages.NoticeDelivery.STATE_TOLD_BEFORE,
    delivery_store.GIVEN_UP: messages.NoticeDelivery.STATE_GIVEN_UP,
}
CHOSEN = """
FROM store.notice AS notice
WHERE NOT $only_undelivered OR notice_id IN (
  SELECT notice_id FROM store.notice_delivery WHERE state IN ('waiting', 'given_up'))
"""
NEWEST = f"SELECT notice_id::VARCHAR, changes {CHOSEN} ORDER BY made_at DESC, notice_id DESC LIMIT $limit"
TOTAL = f"SELECT count(*) {CHOSEN}"
DELIVERIES = """
SELECT webhook, state, attempts, CASE WHEN state = 'waiting' THEN epoch_us(next_attempt_at) END, outcome
FROM store.notice_delivery WHERE notice_id = ?::UUID ORDER BY webhook
"""
WAITING = "SELECT count(*) FROM store.state_change WHERE fate = 'waiting'"


def newest(
    connection: duckdb.DuckDBPyConnection, *, only_undelivered: bool, limit: int, words: Texts
) -> messages.ListNoticesResponse:
    """Newest first."""
    chosen = {"only_undelivered": only_undelivered}
    ((total,),) = connection.execute(TOTAL, chosen).fetchall()
    ((waiting,),) = connection.execute(WAITING).fetchall()
    rows = connection.execute(NEWEST, {**chosen, "limit": limit}).fetchall()
    return messages.ListNoticesResponse(
        notices=[notice_of(connection, notice_id, changes, words) for notice_id, changes in rows],
        total=total,
        waiting_changes=waiting,
    )


def notice_of(
    connection: duckdb.DuckDBPyConnection, notice_id: str, changes: int, words: Texts
) -> messages.Notice:
    found = delivery_store.content(connection, notice_id)
    return messages.Notice(
        notice_id=notice_id,
        kind=found.kind,
        made_at=clock.to_timestamp(found.made_at),
        text=payload.text_of(found, words),
        changes=changes,
        deliveries=[
            messages.NoticeDelivery(
                webhook=webhook,
                state=STATES[state],
                attempts=attempts,
                next_attempt_at=clock.to_timestamp(next_attempt_at),
                outcome=outcome,
            )
            for webhook, state, attempts, next_attempt_at, outcome in connection.execute(
                DELIVERIES, [notice_id]
            ).fetchall()
        ],
    )
