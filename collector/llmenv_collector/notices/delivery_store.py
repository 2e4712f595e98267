"""Deliveries of notices to webhooks in the store: what is due, what it says, and what became of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import result_pb2

from llmenv_collector.notices.payload import Content, Told
from llmenv_collector.notices.state_change import whole

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import duckdb

    from llmenv_collector.notices.outbox import Outcome

WAITING, DELIVERED, TOLD_BEFORE, GIVEN_UP = "waiting", "delivered", "told_before", "given_up"
A_ROUND = 100
# Of each webhook, so that one that fails keeps no other waiting; and first what was tried least, so that a
# notice that its receiver refuses keeps no other waiting either.
DUE = """
SELECT notice_id::VARCHAR, webhook, attempts, epoch_us(made_at)
FROM store.notice_delivery JOIN store.notice AS notice USING (notice_id)
WHERE state = 'waiting' AND list_contains($webhooks::VARCHAR[], webhook)
  AND next_attempt_at <= make_timestamptz($now)
QUALIFY row_number() OVER (PARTITION BY webhook ORDER BY attempts, made_at, notice_id) <= $most
ORDER BY attempts, made_at, notice_id
"""
NEXT = """
SELECT epoch_us(min(next_attempt_at)) FROM store.notice_delivery
WHERE state = 'waiting' AND list_contains($webhooks::VARCHAR[], webhook)
"""
NOTICE = "SELECT kind, epoch_us(made_at), subject, content FROM store.notice WHERE notice_id = ?::UUID"
CHANGES = """
SELECT change_id::VARCHAR, kind, machine_id::VARCHAR, coalesce(machine.hostname, ''), environment_name,
       device, check_name, status, former_status, remedy_id, reason, epoch_us(began_at), epoch_us(noticed_at),
       times_changed, detail_json
FROM store.state_change LEFT JOIN store.machine AS machine USING (machine_id)
WHERE notice_id = ?::UUID AND fate = 'told' ORDER BY hostname, machine_id, environment_name, device
"""
WRITE_DOWN = """
UPDATE store.notice_delivery
SET state = $state, attempts = attempts + $attempts, next_attempt_at = make_timestamptz($next_attempt_at),
    last_attempt_at = CASE WHEN $attempts = 1 THEN make_timestamptz($now) ELSE last_attempt_at END,
    outcome = $outcome
WHERE notice_id = $notice_id::UUID AND webhook = $webhook
"""
# After a failure the webhook's others that are due wait as long.
POSTPONE = """
UPDATE store.notice_delivery SET next_attempt_at = make_timestamptz($next_attempt_at)
WHERE state = 'waiting' AND webhook = $webhook AND next_attempt_at <= make_timestamptz($now)
"""
# A report lies in its folder or is gone with its delivery: the database does not keep it.
FORGET = """
UPDATE store.notice SET content = NULL WHERE notice_id = $notice_id::UUID AND NOT EXISTS (
  FROM store.notice_delivery WHERE notice_id = $notice_id::UUID AND state = 'waiting')
"""


@dataclass(frozen=True)
class Due:
    """A delivery that is to be tried now.  `made_at`: microseconds since 1970."""

    notice_id: str
    webhook: str
    attempts: int
    made_at: int


def due(connection: duckdb.DuckDBPyConnection, *, webhooks: Sequence[str], now: int) -> list[Due]:
    """Of each webhook those that were tried least, and of them the oldest, first."""
    known = {"webhooks": list(webhooks), "now": now, "most": A_ROUND}
    return [Due(*row) for row in connection.execute(DUE, known).fetchall()]


def next_at(connection: duckdb.DuckDBPyConnection, *, webhooks: Sequence[str]) -> int | None:
    """When the next one is due, microseconds since 1970; None when nothing waits."""
    ((at,),) = connection.execute(NEXT, {"webhooks": list(webhooks)}).fetchall()
    return None if at is None else int(at)


def content(connection: duckdb.DuckDBPyConnection, notice_id: str) -> Content:
    ((kind, made_at, subject, report),) = connection.execute(NOTICE, [notice_id]).fetchall()
    changes = [
        Told(
            change_id=row[0],
            kind=row[1],
            machine_id=row[2],
            hostname=row[3],
            environment_name=row[4],
            device=row[5],
            check_name=row[6],
            status=row[7],
            former_status=row[8],
            remedy_id=row[9],
            reason=result_pb2.Sentence.FromString(row[10]),
            began_at=row[11],
            noticed_at=row[12],
            times_changed=row[13],
            detail=json.loads(row[14]),
        )
        for row in connection.execute(CHANGES, [notice_id]).fetchall()
    ]
    return Content(
        notice_id=notice_id,
        kind=kind,
        made_at=made_at,
        changes=changes,
        subject=subject,
        report=(report or b"").decode(),
    )


def writing_down(delivery: Due, outcome: Outcome, *, now: int) -> Callable[[duckdb.DuckDBPyConnection], None]:
    def write_down(connection: duckdb.DuckDBPyConnection) -> None:
        known = {
            "notice_id": delivery.notice_id,
            "webhook": delivery.webhook,
            "state": outcome.state,
            "attempts": int(outcome.is_attempt),
            "next_attempt_at": outcome.next_attempt_at,
            "outcome": outcome.outcome,
            "now": now,
        }
        connection.execute(WRITE_DOWN, known)
        if outcome.state != WAITING:
            connection.execute(FORGET, {"notice_id": delivery.notice_id})
        else:
            postponed = {
                "webhook": delivery.webhook,
                "next_attempt_at": outcome.next_attempt_at,
                "now": now,
            }
            connection.execute(POSTPONE, postponed)

    return whole(write_down)
