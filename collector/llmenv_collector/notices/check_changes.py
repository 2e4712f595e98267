"""When a check began or ceased to end well: a verdict of pass or warn against any other.

Skip and unknown say nothing of either.  What was received since the last look is held against the last
change that is stored of the same check, environment, machine and device; where they differ, every change
from there on is read, in the order of the runs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import result_pb2

from llmenv_collector.notices.state_change import Kind, StateChange, Subject

if TYPE_CHECKING:
    import duckdb

PLACE = "machine_id, environment_name, device, check_name"
POSITION = "(epoch_us(run.started_at)::HUGEINT << 64) + result.sequence"
JUDGED = "result.status NOT IN ('skip', 'unknown') AND run.started_at IS NOT NULL"
# A check of which no change is stored has ended well so far.
FRESH = f"""
CREATE OR REPLACE TEMP TABLE differing AS
WITH latest AS (
  SELECT {PLACE}, arg_max(kind, place) = 'check_recovered' AS ends_well, max(place) AS place,
         arg_max(status, place) AS status
  FROM (
    SELECT *, (epoch_us(began_at)::HUGEINT << 64) + sequence AS place FROM store.state_change
    WHERE kind IN ('check_failing', 'check_recovered')
  ) GROUP BY ALL
)
SELECT result.machine_id, run.environment_name, run.device, result.check_name, min({POSITION}) AS place,
       any_value(latest.status) AS status
FROM store.record AS record JOIN store.result AS result USING (machine_id, record_id)
JOIN store.run AS run USING (machine_id, run_id)
LEFT JOIN latest ON latest.machine_id = result.machine_id AND latest.check_name = result.check_name
  AND latest.environment_name = run.environment_name AND latest.device = run.device
WHERE record.kind = 'check_finished' AND record.received_at >= make_timestamptz($since) AND {JUDGED}
  AND (result.status IN ('pass', 'warn')) <> coalesce(latest.ends_well, true)
  AND {POSITION} > coalesce(latest.place, 0)
GROUP BY ALL
"""  # noqa: S608 (our own names)
CHANGES = f"""
WITH judged AS (
  SELECT result.machine_id, run.environment_name, run.device, result.check_name, result.status,
         result.result_id, result.sequence, result.cause, result.remedy_id,
         result.status IN ('pass', 'warn') AS ends_well, run.started_at, {POSITION} AS place,
         differing.status AS stored_status
  FROM store.result AS result JOIN store.run AS run USING (machine_id, run_id)
  JOIN differing ON differing.machine_id = result.machine_id AND differing.check_name = result.check_name
    AND differing.environment_name = run.environment_name AND differing.device = run.device
  WHERE {POSITION} >= differing.place AND {JUDGED}
), beside AS (
  SELECT *, lag(ends_well) OVER one AS ended_well, lag(status) OVER one AS former
  FROM judged WINDOW one AS (PARTITION BY {PLACE} ORDER BY place)
), changed AS (SELECT * FROM beside WHERE ended_well IS NULL OR ended_well <> ends_well)
SELECT changed.machine_id::VARCHAR, environment_name, changed.device, changed.check_name, ends_well,
       epoch_us(changed.started_at), changed.sequence, changed.result_id::VARCHAR, changed.status,
       coalesce(former, stored_status, ''), changed.cause, changed.remedy_id, result.message
FROM changed JOIN store.result AS result USING (machine_id, result_id)
ORDER BY place, changed.machine_id, changed.check_name
"""  # noqa: S608 (our own names)
FAILING = f"""
WITH latest AS (
  SELECT {PLACE}, arg_max(result_id, place) AS result_id, arg_max(status, place) AS status,
         arg_max(started_at, place) AS started_at
  FROM (
    SELECT result.machine_id, run.environment_name, run.device, result.check_name, result.result_id,
           result.status, run.started_at, {POSITION} AS place
    FROM store.result AS result JOIN store.run AS run USING (machine_id, run_id) WHERE {JUDGED}
  ) GROUP BY ALL
)
SELECT latest.machine_id::VARCHAR, environment_name, latest.device, latest.check_name, false,
       epoch_us(latest.started_at), result.sequence, latest.result_id::VARCHAR, latest.status, '',
       result.cause, result.remedy_id, result.message
FROM latest JOIN store.result AS result USING (machine_id, result_id)
WHERE latest.status NOT IN ('pass', 'warn')
"""  # noqa: S608 (our own names)


def found_since(connection: duckdb.DuckDBPyConnection, since: int) -> list[StateChange]:
    """Of what was received since then, in the order of the runs."""
    connection.execute(FRESH, {"since": since})
    if connection.execute("SELECT count(*) FROM differing").fetchall() == [(0,)]:
        return []
    return [change_of(row) for row in connection.execute(CHANGES).fetchall()]


def failing_now(connection: duckdb.DuckDBPyConnection) -> list[StateChange]:
    """What does not end well when a collector begins to look."""
    return [change_of(row) for row in connection.execute(FAILING).fetchall()]


def change_of(row: tuple[Any, ...]) -> StateChange:
    *subject, ends_well, began_at, sequence, result_id, status, former, cause, remedy_id, message = row
    return StateChange(
        kind=Kind.CHECK_RECOVERED if ends_well else Kind.CHECK_FAILING,
        subject=Subject(*subject),
        began_at=began_at,
        evidence=result_id,
        sequence=sequence,
        status=status,
        former_status=former,
        cause=cause,
        remedy_id=remedy_id,
        reason=result_pb2.Result.FromString(message).reason,
    )
