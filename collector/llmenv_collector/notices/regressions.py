"""When a measurement became worse, and it is confirmed: as the section of changes of a report judges it.

All changes of the last 30 days are judged together, those of series without one counted as well, so that of
what is called a regression no larger share is noise than a report allows.  A change whose place moved by
fewer results than lie between two changes is the one that was found before.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.fleet_report import changes, period
from llmenv_collector.fleet_report.hypotheses import settle
from llmenv_collector.fleet_report.question import FALSE_DISCOVERY_RATE, MINIMUM_EFFECT
from llmenv_collector.notices.state_change import Kind, StateChange, Subject
from llmenv_collector.statistics.change_points import MIN_POINTS

if TYPE_CHECKING:
    from collections.abc import Collection

    import duckdb

MOST_CAUSES = 3
ANALYSED = "SELECT coalesce(epoch_us(max(analysed_at)), 0) FROM store.change_history"
# A cheap look: whether anything can be a regression that is not stored as one.
CANDIDATES = """
SELECT count(*) FROM store.change_point AS change
WHERE NOT is_suspected AND changed_at >= make_timestamptz($since)
  AND CASE direction WHEN 1 THEN median_after < median_before WHEN 2 THEN median_after > median_before END
  AND NOT EXISTS (
    FROM store.state_change AS known WHERE known.kind = 'regression' AND known.machine_id = change.machine_id
      AND known.check_name = change.check_name AND known.began_at = change.changed_at)
"""
NEAREST = """
SELECT count(*) FROM store.state_change AS known
WHERE kind = 'regression' AND machine_id = $machine_id::UUID AND environment_name = $environment_name
  AND device = $device AND check_name = $check_name AND series = $series AND (
    SELECT count(*) FROM store.result AS result JOIN store.run AS run USING (machine_id, run_id)
    WHERE result.machine_id = known.machine_id AND result.check_name = known.check_name
      AND run.environment_name = known.environment_name AND run.device = known.device
      AND run.started_at > least(known.began_at, make_timestamptz($began_at))
      AND run.started_at <= greatest(known.began_at, make_timestamptz($began_at))
  ) < $least
"""


def analysed_at(connection: duckdb.DuckDBPyConnection) -> int:
    """When changes were last searched, microseconds since 1970; 0 for never."""
    ((at,),) = connection.execute(ANALYSED).fetchall()
    return int(at)


def found(connection: duckdb.DuckDBPyConnection, *, revoked: Collection[str], now: int) -> list[StateChange]:
    looked_at = period.Period(
        as_of=now, since=now - period.DEFAULT_DAYS * period.DAY_MICROSECONDS, revoked=frozenset(revoked)
    )
    if connection.execute(CANDIDATES, {"since": looked_at.since}).fetchall() == [(0,)]:
        return []
    period.lay_out(connection, looked_at, latest_later=True)
    period.lay_out_measurements(connection)
    known = changes.read_changes(connection, looked_at, minimum_effect=MINIMUM_EFFECT)
    confirmed = [row for row in known.rows if not row.is_suspected]
    settle(
        confirmed,
        minimum_effect=MINIMUM_EFFECT,
        false_discovery_rate=FALSE_DISCOVERY_RATE,
        untold=known.untold,
    )
    worse = [change_of(row) for row in confirmed if row.judgement == messages.JUDGEMENT_WORSE]
    return [one for one in worse if not is_known(connection, one)]


def is_known(connection: duckdb.DuckDBPyConnection, one: StateChange) -> bool:
    known: dict[str, Any] = {**one.subject._asdict(), "began_at": one.began_at, "least": MIN_POINTS}
    ((near,),) = connection.execute(NEAREST, known).fetchall()
    return int(near) > 0


def change_of(row: messages.ChangeRow) -> StateChange:
    series, began_at = row.series, clock.from_timestamp(row.changed_at)
    causes = [
        {"kind": one.kind, "name": one.name, "before": one.before, "after": one.after}
        for one in row.causes[:MOST_CAUSES]
    ]
    return StateChange(
        kind=Kind.REGRESSION,
        subject=Subject(
            row.machine_id,
            row.environment_name,
            series.device,
            series.check_name,
            json.dumps([series.parameters_json, series.case_name, series.measurement]),
        ),
        began_at=began_at,
        evidence=str(began_at),
        cause=json.dumps(causes[:1]),
        detail={
            "case": series.case_name,
            "measurement": series.measurement,
            "unit": series.unit,
            "before": row.before,
            "after": row.after,
            "ratio": row.ratio.value,
            "ratio_low": row.ratio.low,
            "ratio_high": row.ratio.high,
            "results_since": row.points,
            "causes": causes,
        },
    )
