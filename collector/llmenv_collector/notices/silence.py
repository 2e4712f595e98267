"""When a machine fell silent and when it returned: silent is who the fleet report says is overdue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv_collector import clock
from llmenv_collector.fleet_report import coverage, period
from llmenv_collector.notices.state_change import Kind, StateChange, Subject

if TYPE_CHECKING:
    import duckdb

    from llmenv_collector.identity.standing import Standing

# Silent as of now, and the first run after it, NULL for none.  A machine that returns with one run and falls
# silent again did both with that run, and its silence is the later one.
SILENT = """
WITH latest AS (
  SELECT machine_id, arg_max(kind, (began_at, kind = 'machine_silent')) AS kind,
         max(began_at) AS began_at FROM store.state_change
  WHERE kind IN ('machine_silent', 'machine_returned') GROUP BY machine_id
)
SELECT latest.machine_id::VARCHAR, epoch_us(latest.began_at), epoch_us(min(run.started_at))
FROM latest LEFT JOIN store.run AS run
  ON run.machine_id = latest.machine_id AND run.started_at > latest.began_at
WHERE latest.kind = 'machine_silent' GROUP BY ALL ORDER BY ALL
"""


def found(connection: duckdb.DuckDBPyConnection, *, standing: Standing, now: int) -> list[StateChange]:
    looked_at = period.Period(
        as_of=now,
        since=now - period.DEFAULT_DAYS * period.DAY_MICROSECONDS,
        revoked=standing.barred,
        retired=standing.retired,
    )
    known: dict[str, Any] = {
        "since": looked_at.since,
        "as_of": looked_at.as_of,
        "revoked": sorted(looked_at.revoked),
        "machines": None,
    }
    connection.execute(period.RUN, known)
    overdue = {one.machine_id: one for one in coverage.overdue(connection, looked_at)}
    silent = {row[0]: row[1:] for row in connection.execute(SILENT).fetchall()}
    fell = [
        silent_since(machine_id, clock.from_timestamp(one.last_run_at), one.usual_seconds)
        for machine_id, one in overdue.items()
        if machine_id not in silent
    ]
    back = [
        returned_at(machine_id, first_run, last_run)
        for machine_id, (last_run, first_run) in silent.items()
        if first_run is not None and machine_id not in overdue and machine_id not in standing.barred
    ]
    return [*fell, *back]


def silent_since(machine_id: str, last_run: int, usual_seconds: float) -> StateChange:
    return StateChange(
        kind=Kind.MACHINE_SILENT,
        subject=Subject(machine_id),
        began_at=last_run,
        evidence=str(last_run),
        detail={"usual_seconds": round(usual_seconds)},
    )


def returned_at(machine_id: str, first_run: int, last_run: int) -> StateChange:
    return StateChange(
        kind=Kind.MACHINE_RETURNED,
        subject=Subject(machine_id),
        began_at=first_run,
        evidence=str(first_run),
        detail={"silent_seconds": round((first_run - last_run) / clock.MICROSECONDS)},
    )
