"""One run, put together again from what its agent sent: nothing of it is lost or rounded.

What retention removed is said among what was left out of a result.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import record_pb2, result_pb2, run_pb2

from llmenv_collector.errors import NotFoundError, UsageError
from llmenv_collector.fleet.observed import Observed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

SHORTEST_PREFIX = 8
OWN_COLUMNS = (
    "result_id",
    "check_name",
    "definition_hash",
    "parameters_json",
    "device",
    "remedy_id",
    "seed",
    "import_seconds",
    "run_seconds",
    "wall_seconds",
)
"""Fields of a result that are columns as they are."""
REMOVED_LOG = "the log, by retention"
CASE_COLUMNS = ("name", "parameters_json", "remedy_id", "duration_seconds")


@dataclass(frozen=True)
class FoundRun:
    """Agents choose run ids, so one belongs to a run only together with its machine."""

    run_id: str
    machine_id: str
    environment_id: str
    message: bytes


def get_run(connection: duckdb.DuckDBPyConnection, *, run_id: str) -> run_pb2.Run:
    """The run as it is known now, with all results received so far."""
    found = find_run(connection, run_id)
    run = run_pb2.Run.FromString(found.message)
    if run.HasField("machine"):
        run.machine.machine_id = found.machine_id
    add_packages(connection, run, found.environment_id)
    add_end(connection, run, found)
    run.results.extend(whole_results(connection, found))
    return run


def find_run(connection: duckdb.DuckDBPyConnection, run_id: str) -> FoundRun:
    """By UUID or a unique prefix of it; of two machines that claim one id, the first that did."""
    if len(run_id) < SHORTEST_PREFIX:
        raise UsageError(
            f"A run is named by its id or at least {SHORTEST_PREFIX} characters of it, not {run_id!r}."
        )
    rows = connection.execute(
        """
        SELECT DISTINCT ON (run_id) run_id::VARCHAR, machine_id::VARCHAR, environment_id, message
        FROM store.run JOIN store.record USING (machine_id, record_id)
        WHERE starts_with(run_id::VARCHAR, lower(?)) ORDER BY run_id, received_at LIMIT 2
        """,
        [run_id],
    ).fetchall()
    if not rows:
        raise NotFoundError(f"There is no run {run_id!r}: see `llmenv run list`.")
    if len(rows) > 1:
        raise UsageError(f"Several runs begin with {run_id!r}: give more of the id.")
    return FoundRun(*rows[0])


def add_packages(connection: duckdb.DuckDBPyConnection, run: run_pb2.Run, environment_id: str) -> None:
    rows = connection.execute(
        "SELECT name, version, origin FROM store.environment_package"
        " WHERE environment_id = ? ORDER BY position",
        [environment_id],
    ).fetchall()
    for name, version, origin in rows:
        run.environment.packages.add(name=name, version=version, origin=origin)


def add_end(connection: duckdb.DuckDBPyConnection, run: run_pb2.Run, found: FoundRun) -> None:
    for (message,) in connection.execute(
        "SELECT message FROM store.run_end WHERE run_id = ? AND machine_id = ?",
        [found.run_id, found.machine_id],
    ).fetchall():
        end = record_pb2.RunFinished.FromString(message)
        run.outcome = end.outcome
        run.wall_seconds = end.wall_seconds
        if end.HasField("ended_at"):
            run.ended_at.CopyFrom(end.ended_at)


def whole_results(connection: duckdb.DuckDBPyConnection, found: FoundRun) -> list[result_pb2.Result]:
    """With their cases and trials of remedies, in the order in which they were delivered."""
    rows = rows_of(connection, found, "result", ("log_tail", *OWN_COLUMNS), order="sequence")
    observed = Observed(connection, found.machine_id, [row[3] for row in rows])
    cases = cases_by_result(connection, found, observed)
    tried = remedy_trials_by_result(connection, found)
    results = []
    for record_id, message, log_tail, *own in rows:
        result = result_pb2.Result.FromString(message)
        put(result, OWN_COLUMNS, own)
        if log_tail is None:
            result.cut.append(REMOVED_LOG)
        else:
            result.log_tail = log_tail
        observed.fill_result(result, record_id)
        if without_trials := observed.without_trials(result.result_id):
            result.cut.append(f"raw trials of {without_trials} measurements, by retention")
        result.cases.extend(cases.pop(result.result_id, ()))
        result.remedy_trials.extend(tried.pop(result.result_id, ()))
        results.append(result)
    return results


def cases_by_result(
    connection: duckdb.DuckDBPyConnection, found: FoundRun, observed: Observed
) -> dict[str, list[result_pb2.Case]]:
    """Cases may come as records of their own."""
    cases: dict[str, list[result_pb2.Case]] = defaultdict(list)
    columns = ("result_id", *CASE_COLUMNS)
    for record_id, message, result_id, *own in rows_of(connection, found, "result_case", columns):
        case = result_pb2.Case.FromString(message)
        put(case, CASE_COLUMNS, own)
        observed.fill_case(case, record_id)
        cases[result_id].append(case)
    return cases


def remedy_trials_by_result(
    connection: duckdb.DuckDBPyConnection, found: FoundRun
) -> dict[str, list[result_pb2.RemedyTrial]]:
    trials: dict[str, list[result_pb2.RemedyTrial]] = defaultdict(list)
    for _, message, result_id in rows_of(connection, found, "remedy_trial", ("result_id",)):
        trials[result_id].append(result_pb2.RemedyTrial.FromString(message))
    return trials


def rows_of(
    connection: duckdb.DuckDBPyConnection,
    found: FoundRun,
    table: str,
    columns: Sequence[str],
    *,
    order: str = "sequence, position",
) -> list[tuple[Any, ...]]:
    """Record, message and these columns of what lies of the run in a table."""
    selected = ", ".join(f"{name}::VARCHAR" if name == "result_id" else name for name in columns)
    rows: list[tuple[Any, ...]] = connection.execute(
        f"SELECT record_id::VARCHAR, message, {selected} FROM store.{table}"  # noqa: S608 (our own names)
        f" WHERE run_id = ? AND machine_id = ? ORDER BY {order}",
        [found.run_id, found.machine_id],
    ).fetchall()
    return rows


def put(message: result_pb2.Result | result_pb2.Case, names: Sequence[str], values: Sequence[Any]) -> None:
    for name, value in zip(names, values, strict=True):
        setattr(message, name, value)
