"""When measurements changed: read from what `change_upkeep` keeps, never worked out for a report."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector import clock
from llmenv_collector.fleet_report.causes import Changed, causes
from llmenv_collector.statistics.change_points import MIN_POINTS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    from google.protobuf.timestamp_pb2 import Timestamp

    from llmenv_collector.fleet_report.period import Period

ASKED = """
(len($checks::VARCHAR[]) = 0 OR list_contains($checks::VARCHAR[], check_name))
AND NOT list_contains($revoked::VARCHAR[], machine_id::VARCHAR)
AND ($machines IS NULL OR list_contains($machines::VARCHAR[], machine_id::VARCHAR))
"""
POINTS = f"""
SELECT change.machine_id::VARCHAR, coalesce(shared.name, machine.hostname, ''), environment_name, check_name,
       case_name, measurement, unit, direction, device, definition_hash, parameters_json,
       epoch_us(changed_at), is_suspected, points, median_before, median_after, ratio_low, ratio_high,
       p_value, from_result_id::VARCHAR, to_result_id::VARCHAR
FROM (
  SELECT * FROM store.change_point
  WHERE changed_at >= make_timestamptz($since) AND changed_at <= make_timestamptz($as_of)
    AND abs(ln(median_after / median_before)) >= ln(1 + $minimum_effect) AND {ASKED}
) AS change LEFT JOIN store.machine AS machine USING (machine_id)
LEFT JOIN shared_name AS shared USING (machine_id, hostname)
ORDER BY ALL
"""  # noqa: S608 (our own names)
ANALYSED = f"SELECT coalesce(sum(series), 0)::BIGINT, epoch_us(max(analysed_at)) FROM store.change_history WHERE {ASKED}"  # noqa: S608, E501 (our own names)
HAVING = """
SELECT DISTINCT run.machine_id::VARCHAR, series.check_name, series.case_name, series.measurement,
       series.device, series.parameters_json
FROM (SELECT DISTINCT series, run_no FROM measured) JOIN series USING (series)
JOIN period_run AS run USING (run_no)
"""

# Of the first result after each change: how many there were from then on, of those that the period knows.
KNOWN_SINCE = """
SELECT change.to_result_id::VARCHAR, count(*) FROM (
  SELECT DISTINCT machine_id, environment_name, device, check_name, changed_at, to_result_id
  FROM store.change_point
) AS change JOIN period_result AS result USING (machine_id, environment_name, device, check_name)
WHERE result.started_at >= change.changed_at
GROUP BY ALL HAVING bool_or(result.result_id = change.to_result_id)
"""


@dataclass(frozen=True)
class Found:
    """A change, and the ids of results between which it lies."""

    row: messages.ChangeRow
    from_result_id: str
    to_result_id: str


@dataclass(frozen=True)
class Changes:
    """Without q-values and judgements; a suspicion is inconclusive and not among the tests."""

    rows: tuple[messages.ChangeRow, ...]
    untold: int
    """Series that were searched and have no confirmed change that matters in the period, a count."""
    analysed_at: Timestamp | None


def read_changes(
    connection: duckdb.DuckDBPyConnection, looked_at: Period, *, minimum_effect: float
) -> Changes:
    """Those that are large enough to matter; after period.lay_out_measurements."""
    asked: dict[str, Any] = {
        "checks": sorted(looked_at.checks),
        "revoked": sorted(looked_at.revoked),
        "machines": None if looked_at.machines is None else sorted(looked_at.machines),
    }
    ((searched, analysed_at),) = connection.execute(ANALYSED, asked).fetchall()
    chosen = {"since": looked_at.since, "as_of": looked_at.as_of, "minimum_effect": minimum_effect}
    found = [found_of(row) for row in connection.execute(POINTS, {**asked, **chosen}).fetchall()]
    if not looked_at.is_now:
        found = known_then(found, dict(connection.execute(KNOWN_SINCE).fetchall()))
    having: dict[tuple[Any, ...], set[str]] = defaultdict(set)
    if found:
        for machine_id, *thing in connection.execute(HAVING).fetchall():
            having[tuple(thing)].add(machine_id)
    for one, of_one in zip(
        found, causes(connection, [changed_of(one) for one in found], having), strict=True
    ):
        one.row.causes.extend(of_one)
    confirmed = sum(not one.row.is_suspected for one in found)
    rows = tuple(one.row for one in found)
    return Changes(rows, max(0, searched - confirmed), clock.to_timestamp(analysed_at))


def known_then(found: list[Found], results_since: Mapping[str, int]) -> list[Found]:
    """Those of which a result after the change had been received; with few of them it was a suspicion."""
    kept = [one for one in found if one.to_result_id in results_since]
    for one in kept:
        results = results_since[one.to_result_id]
        if results < MIN_POINTS:
            one.row.points = min(one.row.points, results)
            suspect(one.row)
    return kept


def suspect(row: messages.ChangeRow) -> None:
    row.is_suspected, row.q_value, row.judgement = True, 1.0, messages.JUDGEMENT_INCONCLUSIVE


def changed_of(found: Found) -> Changed:
    series = found.row.series
    thing = (series.check_name, series.case_name, series.measurement, series.device, series.parameters_json)
    return Changed(
        found.row.machine_id,
        series.check_name,
        found.from_result_id,
        found.to_result_id,
        alike=(*thing, found.row.after > found.row.before),
        thing=thing,
    )


def found_of(row: tuple[Any, ...]) -> Found:
    machine_id, hostname, environment_name, check_name, case_name, measurement, unit, direction, *others = row
    device, definition_hash, parameters_json, changed_at, is_suspected, points, *figures = others
    before, after, low, high, p_value, from_result_id, to_result_id = figures
    change = messages.ChangeRow(
        machine_id=machine_id,
        hostname=hostname,
        environment_name=environment_name,
        series=messages.Series(
            check_name=check_name,
            case_name=case_name,
            measurement=measurement,
            unit=unit,
            direction=direction,
            device=device,
            definition_hash=definition_hash,
            parameters_json=parameters_json,
        ),
        changed_at=clock.to_timestamp(changed_at),
        ratio=messages.Estimate(value=after / before, low=low, high=high),
        before=before,
        after=after,
        p_value=p_value,
        is_suspected=is_suspected,
        points=points,
    )
    if is_suspected:
        suspect(change)
    return Found(change, from_result_id, to_result_id)
