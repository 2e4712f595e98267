"""The ledger of delivery: what became of every record that a machine ever minted.

For each spool, as of its machine's last contact, and disjoint: minted = stored +
rejected + waiting + dropped + lost by restore.  The view v1.delivery computes it
from totals, so that letting rows go changes nothing; a hole among the rows that
are held is unexplained.  Here each count gets its reasons.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import agent_service_pb2
from llmenv.fleet.v1 import fleet_service_pb2 as fleet

from llmenv_collector import clock
from llmenv_collector.fleet.queries import require_known

if TYPE_CHECKING:
    import duckdb

MAX_DAYS = 10_000
MAX_REASONS = 5

SPOOLS = """
SELECT delivery.spool_id::VARCHAR AS spool_id, delivery.machine_id::VARCHAR AS machine_id,
       coalesce(machine.hostname, '') AS hostname,
       coalesce(previous_spool_id::VARCHAR, '') AS previous_spool_id,
       coalesce(next_spool_id::VARCHAR, '') AS next_spool_id, delivery.minted, watermark, delivery.stored,
       delivery.rejected, delivery.dropped, lost_by_restore, delivery.waiting, unexplained, missing,
       said.minted AS said_minted, said.stored AS said_stored, said.rejected AS said_rejected,
       said.waiting AS said_waiting, said.dropped AS said_dropped, epoch_us(said.said_at) AS said_at
FROM v1.delivery AS delivery
LEFT JOIN store.spool_ledger AS said USING (spool_id)
LEFT JOIN store.machine AS machine ON machine.machine_id = delivery.machine_id
WHERE $machine IN ('', delivery.machine_id::VARCHAR, machine.hostname)
ORDER BY hostname, delivery.machine_id, first_received_at, spool_id
"""
DAYS = """
SELECT days.machine_id::VARCHAR AS machine_id, coalesce(machine.hostname, '') AS hostname,
       day::VARCHAR AS day, stored, rejected, dropped,
       coalesce(median_delay_seconds, 0) AS median_delay_seconds,
       coalesce(highest_delay_seconds, 0) AS highest_delay_seconds
FROM v1.delivery_days AS days LEFT JOIN store.machine AS machine USING (machine_id)
WHERE $machine IN ('', days.machine_id::VARCHAR, machine.hostname)
ORDER BY day DESC, hostname, machine_id LIMIT $limit
"""
REASONS = """
SELECT spool_id::VARCHAR, 'refused', reason, count(*) AS records
FROM store.rejection GROUP BY spool_id, reason
UNION ALL
SELECT spool_id::VARCHAR, 'dropped', reason, sum(last_sequence - first_sequence + 1) AS records
FROM store.tombstone GROUP BY spool_id, reason
ORDER BY records DESC, reason
"""
TOTALS = ("minted", "stored", "rejected", "waiting", "dropped")


def get_delivery(connection: duckdb.DuckDBPyConnection, *, machine: str) -> fleet.GetDeliveryResponse:
    """Raises NotFoundError for a machine that is not known.  Revoked ones stay part of the account."""
    spools = named_rows(connection, SPOOLS, machine=machine)
    if machine and not spools:
        require_known(connection, machine)
    reasons = read_reasons(connection) if any(row["rejected"] or row["dropped"] for row in spools) else {}
    return fleet.GetDeliveryResponse(
        spools=[spool_delivery(row, reasons.get(row["spool_id"], [])) for row in spools],
        days=[
            fleet.DayDelivery(**row) for row in named_rows(connection, DAYS, machine=machine, limit=MAX_DAYS)
        ],
    )


def named_rows(connection: duckdb.DuckDBPyConnection, query: str, **values: object) -> list[dict[str, Any]]:
    answer = connection.execute(query, values)
    names = [column[0] for column in answer.description]
    return [dict(zip(names, row, strict=True)) for row in answer.fetchall()]


def read_reasons(connection: duckdb.DuckDBPyConnection) -> dict[str, list[str]]:
    """By spool, those of most records first."""
    told: dict[str, list[str]] = defaultdict(list)
    for spool_id, verb, reason, records in connection.execute(REASONS).fetchall():
        told[spool_id].append(f"{records} {verb}: {reason}")
    return told


def spool_delivery(row: dict[str, Any], causes: list[str]) -> fleet.SpoolDelivery:
    said = agent_service_pb2.Ledger(**{name: row[f"said_{name}"] or 0 for name in TOTALS})
    fields = {
        name: value for name, value in row.items() if not name.startswith("said_") and name != "missing"
    }
    reasons = [*causes[:MAX_REASONS], *further(causes), *restored(row), *doubts(row, said)]
    return fleet.SpoolDelivery(
        **fields, said=said, said_at=clock.to_timestamp(row["said_at"]), reasons=reasons
    )


def further(causes: list[str]) -> list[str]:
    return [f"{len(causes) - MAX_REASONS} more reasons"] if len(causes) > MAX_REASONS else []


def restored(row: dict[str, Any]) -> list[str]:
    if not row["lost_by_restore"]:
        return []
    return [f"{row['lost_by_restore']} lost: acknowledged, then lost by a restore of the collector"]


def doubts(row: dict[str, Any], said: agent_service_pb2.Ledger) -> list[str]:
    """What `unexplained` is made of."""
    sums = []
    if row["missing"]:
        sums.append(f"{row['missing']} unexplained: rows below the watermark are missing from the store")
    if difference := row["watermark"] - row["stored"] - row["rejected"] - row["dropped"]:
        sums.append(f"{difference} unexplained: the watermark is not the sum of what was counted")
    if wrong := said.minted - said.stored - said.rejected - said.waiting - said.dropped:
        sums.append(f"{abs(wrong)} unexplained: the machine's own totals do not add up")
    return sums
