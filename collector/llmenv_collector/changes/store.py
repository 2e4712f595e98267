"""Histories whose changes are to be worked out, what they hold, and where the answer is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from llmenv_collector import clock
from llmenv_collector.fleet_report.change_search import SeriesOfHistory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    import duckdb

    from llmenv_collector.fleet_report.change_search import Change

MOST_RESULTS = 400
"""Of a history, the newest: what is older keeps the changes that were found when it was new."""
SETTLED = 10
"""A change so near to the oldest result that is looked at was found with more before it."""
KEY = "machine_id, environment_name, device, check_name, parameters_json"
KNOWN = f"""
SELECT {KEY}, count(*) AS results, max(received_at) AS received_until
FROM (
  SELECT result.machine_id, run.environment_name, run.device, result.check_name, result.parameters_json,
         record.received_at
  FROM store.record AS record JOIN store.result AS result USING (machine_id, record_id)
  JOIN store.run AS run USING (machine_id, run_id)
  WHERE record.kind = 'check_finished' AND record.received_at >= make_timestamptz($since)
) GROUP BY ALL
"""  # noqa: S608 (our own names)
DUE = f"""
SELECT known.machine_id::VARCHAR, known.environment_name, known.device, known.check_name,
       known.parameters_json, known.results, epoch_us(known.received_until)
FROM ({KNOWN}) AS known LEFT JOIN store.change_history AS analysed USING ({KEY})
WHERE analysed.received_until IS NULL OR known.received_until > analysed.received_until
  OR ($since = 0 AND known.results <> analysed.results)
ORDER BY known.received_until, known.machine_id, known.check_name, known.device
"""  # noqa: S608 (our own names)
GONE = f"""
DELETE FROM store.{{table}} WHERE ({KEY}) NOT IN (SELECT ({KEY}) FROM ({KNOWN}))
"""  # noqa: S608 (our own names)
VALUES = """
WITH history AS (
  SELECT unnest($numbers::INTEGER[]) AS history, unnest($machines::UUID[]) AS machine_id,
         unnest($environments::VARCHAR[]) AS environment_name, unnest($devices::VARCHAR[]) AS device,
         unnest($checks::VARCHAR[]) AS check_name, unnest($parameters::VARCHAR[]) AS parameters_json
), found AS (
  SELECT history.history, result.machine_id, result.result_id, result.definition_hash, run.started_at,
         result.sequence
  FROM store.result AS result JOIN history USING (machine_id, check_name, parameters_json)
  JOIN store.run AS run USING (machine_id, run_id)
  LEFT JOIN (SELECT * FROM store.condition WHERE moment = 'before') AS condition USING (machine_id, result_id)
  WHERE run.environment_name = history.environment_name AND run.device = history.device
    AND run.started_at IS NOT NULL
    AND result.status IN ('pass', 'warn') AND result.measurements_withheld = ''
    AND NOT coalesce(condition.low_power_mode, false)
    AND coalesce(condition.thermal_pressure, '') IN ('', 'nominal')
    AND coalesce(condition.memory_pressure, '') IN ('', 'normal')
    AND coalesce(condition.power_source, '') <> 'battery'
  QUALIFY row_number() OVER (
    PARTITION BY history.history ORDER BY run.started_at DESC, result.sequence DESC) <= $most
)
SELECT found.history, coalesce(measured.case_name, ''), measured.name, measured.unit, measured.direction,
       list(measured.value ORDER BY found.started_at, found.sequence),
       list(epoch_us(found.started_at) ORDER BY found.started_at, found.sequence),
       list(found.result_id::VARCHAR ORDER BY found.started_at, found.sequence),
       list(found.definition_hash ORDER BY found.started_at, found.sequence)
FROM found JOIN store.measurement AS measured USING (machine_id, result_id)
WHERE isfinite(measured.value) AND measured.value > 0 AND coalesce(measured.stability, '') <> 'unstable'
GROUP BY ALL ORDER BY ALL
"""
FORGET = f"""
DELETE FROM store.change_point WHERE ({KEY}) = ($1, $2, $3, $4, $5)
  AND (is_suspected OR changed_at >= make_timestamptz($6))
"""  # noqa: S608 (our own names)
FORGET_HISTORY = f"DELETE FROM store.change_history WHERE ({KEY}) = ($1, $2, $3, $4, $5)"  # noqa: S608


class History(NamedTuple):
    """What one check measured in one place with the same parameters."""

    machine_id: str
    environment_name: str
    device: str
    check_name: str
    parameters_json: str


@dataclass(frozen=True)
class Due:
    """A history that grew since it was analysed.  Time is microseconds since 1970, collector's clock."""

    history: History
    results: int
    received_until: int


@dataclass(frozen=True)
class Held:
    """One measurement of a history: values with the times and ids of their results."""

    case_name: str
    measurement: str
    unit: str
    direction: int
    series: SeriesOfHistory
    started_at: list[int]
    result_ids: list[str]
    definitions: list[str]


@dataclass(frozen=True)
class Answered:
    """A history, what it holds and the changes of each of its series."""

    due: Due
    held: Sequence[Held]
    changes: Sequence[Sequence[Change]]


def due_histories(connection: duckdb.DuckDBPyConnection, *, since: int) -> list[Due]:
    """Those with results received since then that were not analysed; 0 looks at everything again."""
    rows = connection.execute(DUE, {"since": since}).fetchall()
    return [Due(History(*row[:5]), row[5], row[6]) for row in rows]


def read_held(connection: duckdb.DuckDBPyConnection, due: Sequence[Due]) -> list[list[Held]]:
    """What each history holds that may be compared, by the rules of a report."""
    histories = [one.history for one in due]
    known: dict[str, Any] = {
        "numbers": list(range(len(histories))),
        "machines": [one.machine_id for one in histories],
        "environments": [one.environment_name for one in histories],
        "devices": [one.device for one in histories],
        "checks": [one.check_name for one in histories],
        "parameters": [one.parameters_json for one in histories],
        "most": MOST_RESULTS,
    }
    held: list[list[Held]] = [[] for _ in due]
    for number, case_name, measurement, unit, direction, values, *others in connection.execute(
        VALUES, known
    ).fetchall():
        name = "/".join((*histories[number], case_name, measurement, unit))
        series = SeriesOfHistory(name, np.array(values, dtype=np.float64))
        held[number].append(Held(case_name, measurement, unit, direction, series, *others))
    return held


def keeping(answers: Sequence[Answered]) -> Callable[[duckdb.DuckDBPyConnection], None]:
    """What the store's writer does with them, in one transaction."""
    now = clock.now()

    def keep(connection: duckdb.DuckDBPyConnection) -> None:
        connection.execute("BEGIN")
        try:
            for answer in answers:
                keep_one(connection, answer, now)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")

    return keep


def keep_one(connection: duckdb.DuckDBPyConnection, answer: Answered, now: int) -> None:
    key = list(answer.due.history)
    connection.execute(FORGET, [*key, looked_at_since(answer.held)])
    connection.execute(FORGET_HISTORY, key)
    series = sum(held.series.is_long_enough for held in answer.held)
    connection.execute(
        "INSERT INTO store.change_history VALUES"
        " (?, ?, ?, ?, ?, ?, make_timestamptz(?::BIGINT), ?, make_timestamptz(?::BIGINT))",
        [*key, answer.due.results, answer.due.received_until, series, now],
    )
    rows = list(change_rows(answer))
    if rows:
        places = ", ".join(["?"] * 10 + ["make_timestamptz(?::BIGINT)"] + ["?"] * 9)
        connection.executemany(f"INSERT INTO store.change_point VALUES ({places})", rows)  # noqa: S608


def looked_at_since(held: Sequence[Held]) -> int:
    """Changes that are older stay as they were found: the start of a series that was not looked at whole."""
    cut = [one.started_at[SETTLED] for one in held if len(one.started_at) >= MOST_RESULTS]
    return min(cut, default=0)


def change_rows(answer: Answered) -> Iterable[list[Any]]:
    since = looked_at_since(answer.held)
    for held, changes in zip(answer.held, answer.changes, strict=True):
        for one in changes:
            if one.is_suspected or held.started_at[one.index] >= since:
                yield [
                    *answer.due.history,
                    held.case_name,
                    held.measurement,
                    held.unit,
                    held.direction,
                    held.definitions[one.index],
                    held.started_at[one.index],
                    one.is_suspected,
                    one.points,
                    one.before,
                    one.after,
                    one.low,
                    one.high,
                    one.p_value,
                    held.result_ids[one.first],
                    held.result_ids[one.last],
                ]


def forget_gone(connection: duckdb.DuckDBPyConnection) -> None:
    """Histories whose results are not in the store any more."""
    for table in ("change_history", "change_point"):
        connection.execute(GONE.format(table=table), {"since": 0})
