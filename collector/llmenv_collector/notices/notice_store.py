"""Changes that wait, and the notices made of them, in the store."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.ids import new_id

from llmenv_collector.notices.state_change import Kind, Subject, whole
from llmenv_collector.notices.telling import Known, Mute, Plan, Told, Waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import duckdb

    from llmenv_collector.notices.telling import Entry
    from llmenv_collector.notices.webhook import Webhook

SUBJECT = "machine_id, environment_name, device, check_name, series"
# An acknowledgement covers a failure as it covers a finding of the report.
WAITING = """
SELECT change.change_id::VARCHAR, change.kind, change.machine_id::VARCHAR, change.environment_name,
       change.device, change.check_name, change.series, change.status, change.cause,
       epoch_us(change.noticed_at), coalesce(noted.acknowledgement_id::VARCHAR, ''),
       coalesce(change.muted_by::VARCHAR, '')
FROM store.state_change AS change LEFT JOIN (
  SELECT change_id, arg_max(acknowledgement_id, expires_at) AS acknowledgement_id
  FROM store.state_change AS change JOIN store.acknowledgement AS noted USING (check_name)
  WHERE change.fate = 'waiting' AND change.kind = 'check_failing'
    AND noted.withdrawn_at IS NULL AND noted.expires_at > make_timestamptz($now)
    AND list_contains(noted.statuses, change.status)
    AND (noted.remedy_id IS NULL OR noted.remedy_id = change.remedy_id)
    AND (noted.cause IS NULL OR noted.cause = change.cause)
    AND (len(noted.machine_ids) = 0 OR list_contains(noted.machine_ids, change.machine_id))
  GROUP BY change_id
) AS noted USING (change_id)
WHERE change.fate = 'waiting'
ORDER BY change.began_at, change.sequence, change.kind = 'machine_silent', change.change_id
"""
TOLD = f"""
SELECT machine_id::VARCHAR, environment_name, device, check_name, series, epoch_us(made_at), times_changed
FROM store.state_change JOIN store.notice AS notice USING (notice_id)
SEMI JOIN (SELECT {SUBJECT} FROM store.state_change WHERE fate = 'waiting') AS open USING ({SUBJECT})
WHERE fate = 'told'
QUALIFY row_number() OVER (PARTITION BY {SUBJECT} ORDER BY made_at DESC) <= 2 ORDER BY made_at
"""  # noqa: S608 (our own names)
GROUPS = """
SELECT group_key, epoch_us(max(made_at)) FROM store.notice
WHERE made_at > make_timestamptz($now) - INTERVAL 1 HOUR AND group_key <> '' GROUP BY ALL
"""
MUTES = """
SELECT mute_id::VARCHAR, machine_ids::VARCHAR[], check_name, kind FROM store.notice_mute
WHERE withdrawn_at IS NULL AND expires_at > make_timestamptz($now) ORDER BY expires_at DESC
"""
ADD = """
INSERT INTO store.notice BY NAME
SELECT $notice_id::UUID AS notice_id, $kind AS kind, $group AS group_key, make_timestamptz($now) AS made_at,
       $changes AS changes, $subject AS subject, $content::BLOB AS content
"""
ADD_DELIVERY = """
INSERT INTO store.notice_delivery BY NAME
SELECT $notice_id::UUID AS notice_id, $webhook AS webhook, 'waiting' AS state, 0 AS attempts,
       make_timestamptz($now) AS next_attempt_at, '' AS outcome
"""
TELL = """
UPDATE store.state_change AS change
SET fate = 'told', notice_id = $notice_id::UUID, times_changed = told.times
FROM (SELECT unnest($change_ids::UUID[]) AS change_id, unnest($times::UINTEGER[]) AS times) AS told
WHERE change.change_id = told.change_id AND fate = 'waiting'
"""
OVERTAKE = """
UPDATE store.state_change SET fate = 'overtaken', notice_id = $notice_id::UUID
WHERE fate = 'waiting' AND list_contains($change_ids::UUID[], change_id)
"""
MUTE = """
UPDATE store.state_change AS change SET muted_by = muted.muted_by
FROM (SELECT unnest($change_ids::UUID[]) AS change_id, unnest($muted_by::UUID[]) AS muted_by) AS muted
WHERE change.change_id = muted.change_id AND fate = 'waiting'
"""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One that is to be sent to these webhooks."""

    kind: str
    changes: int = 0
    group: str = ""
    subject: str = ""
    content: bytes | None = None


def read_waiting(connection: duckdb.DuckDBPyConnection, *, now: int) -> list[Waiting]:
    """In the order in which they happened."""
    return [
        Waiting(
            change_id=row[0],
            kind=Kind(row[1]),
            subject=Subject(*row[2:7]),
            status=row[7],
            cause=row[8],
            noticed_at=row[9],
            acknowledgement_id=row[10],
            muted_by=row[11],
        )
        for row in connection.execute(WAITING, {"now": now}).fetchall()
    ]


def read_known(
    connection: duckdb.DuckDBPyConnection, *, gone: Collection[str], gather: int, now: int
) -> Known:
    told: dict[Subject, list[Told]] = defaultdict(list)
    for *subject, at, times_changed in connection.execute(TOLD).fetchall():
        told[Subject(*subject)].append(Told(at, times_changed))
    mutes = [
        Mute(mute_id=mute_id, machine_ids=frozenset(machine_ids), check_name=check_name, kind=kind)
        for mute_id, machine_ids, check_name, kind in connection.execute(MUTES, {"now": now}).fetchall()
    ]
    return Known(
        told=told,
        groups=dict(connection.execute(GROUPS, {"now": now}).fetchall()),
        mutes=mutes,
        gone=frozenset(gone),
        gather=gather,
        now=now,
    )


def carrying_out(
    made: Plan, webhooks: Sequence[Webhook], *, now: int
) -> Callable[[duckdb.DuckDBPyConnection], None]:
    """What the store's writer does with a plan, all or none."""

    def carry_out(connection: duckdb.DuckDBPyConnection) -> None:
        for group, entries in made.notices.items():
            notice = Notice(kind=entries[0].change.kind, changes=len(entries), group=group)
            tell(connection, entries, add(connection, notice, webhooks, now=now))
        if made.overtaken:
            connection.execute(OVERTAKE, {"notice_id": None, "change_ids": made.overtaken})
        if made.muted:
            connection.execute(MUTE, {"change_ids": list(made.muted), "muted_by": list(made.muted.values())})

    return whole(carry_out)


def add(
    connection: duckdb.DuckDBPyConnection, notice: Notice, webhooks: Sequence[Webhook], *, now: int
) -> str:
    """Its id; it waits for each webhook that takes its kind."""
    notice_id = new_id()
    values: dict[str, Any] = {
        "notice_id": notice_id,
        "kind": notice.kind,
        "group": notice.group,
        "changes": notice.changes,
        "subject": notice.subject,
        "content": notice.content,
        "now": now,
    }
    connection.execute(ADD, values)
    for one in webhooks:
        if notice.kind in one.kinds:
            connection.execute(ADD_DELIVERY, {"notice_id": notice_id, "webhook": one.name, "now": now})
    return notice_id


def tell(connection: duckdb.DuckDBPyConnection, entries: Sequence[Entry], notice_id: str) -> None:
    told = {
        "notice_id": notice_id,
        "change_ids": [one.change.change_id for one in entries],
        "times": [one.times_changed for one in entries],
    }
    connection.execute(TELL, told)
    earlier = [change_id for one in entries for change_id in one.earlier]
    if earlier:
        connection.execute(OVERTAKE, {"notice_id": notice_id, "change_ids": earlier})
