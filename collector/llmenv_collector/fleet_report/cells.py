"""What was measured, grouped: a cell is one machine, series and context, with the values of its results.

A context is what else has to be equal for a version to be compared: the versions of the
watched packages, Python and the build of macOS.  Medians of cells are taken by DuckDB;
what leaves it are arrays of numbers, and each name once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from llmenv.catalog.packages import WATCHED

from llmenv_collector.fleet_report.versions import MACOS, PYTHON
from llmenv_collector.statistics.nested import middle_of_segments

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb
    from numpy.typing import NDArray

ENVIRONMENTS = """
CREATE OR REPLACE TEMP TABLE versions_of_environment AS
SELECT used.environment_id, coalesce(any_value(environment.python_version), '') AS python,
       coalesce(list_sort(list(DISTINCT {name: package.name, version: package.version})
                          FILTER (list_contains($watched::VARCHAR[], package.name))), []) AS versions
FROM (SELECT DISTINCT environment_id FROM period_run) AS used
LEFT JOIN store.environment AS environment USING (environment_id)
LEFT JOIN store.environment_package AS package USING (environment_id)
GROUP BY used.environment_id
"""
CONTEXTS = """
CREATE OR REPLACE TEMP TABLE context AS
SELECT environment_id, os_build, is_macos,
       dense_rank() OVER (ORDER BY versions, python, CASE WHEN is_macos THEN os_build END) - 1 AS context
FROM (SELECT DISTINCT environment_id, os_build, os_name = 'macOS' AS is_macos FROM period_run)
JOIN versions_of_environment USING (environment_id)
"""
PLACES = """
CREATE OR REPLACE TEMP TABLE place AS
SELECT run.run_no::INTEGER AS run_no, context.context::INTEGER AS context, run.started_at,
       dense_rank() OVER (ORDER BY run.machine_id)::INTEGER - 1 AS machine,
       dense_rank() OVER (ORDER BY run.chip, run.gpu_cores, run.memory_bytes)::INTEGER - 1 AS variant
FROM period_run AS run JOIN context
  ON run.environment_id = context.environment_id AND run.os_build = context.os_build
  AND (run.os_name = 'macOS') = context.is_macos
"""
IN_ORDER_OF_TIME = "list(measured.value ORDER BY place.started_at)"
# A third of the time of the other order.
ASCENDING = "list_sort(list(measured.value))"
CELLS = """
SELECT series.series_no AS series, place.machine, place.variant, place.context, {side} AS side,
       {values} AS values
FROM measured JOIN series USING (series) JOIN place USING (run_no) {sides}
WHERE NOT measured.is_unstable GROUP BY ALL ORDER BY series, machine, context, side, variant
"""
SERIES = """
SELECT check_name, case_name, measurement, unit, direction, device, definition_hash, parameters_json
FROM series ORDER BY series_no
"""
CONTEXT_VERSIONS = """
SELECT context, any_value(versions), any_value(python), any_value(CASE WHEN is_macos THEN os_build END)
FROM context JOIN versions_of_environment USING (environment_id) GROUP BY context ORDER BY context
"""
MACHINES = """
SELECT arg_max(run.machine_id, run.started_at)::VARCHAR, arg_max(run.hostname, run.started_at)
FROM place JOIN period_run AS run USING (run_no) GROUP BY place.machine ORDER BY place.machine
"""
VARIANTS = """
SELECT DISTINCT place.variant, run.chip, run.gpu_cores, run.memory_bytes
FROM place JOIN period_run AS run USING (run_no) ORDER BY place.variant
"""


class Series(NamedTuple):
    """As the contract names it."""

    check_name: str
    case_name: str
    measurement: str
    unit: str
    direction: int
    device: str
    definition_hash: str
    parameters_json: str


class Variant(NamedTuple):
    chip: str
    gpu_cores: int | None
    memory_bytes: int | None


class Machine(NamedTuple):
    machine_id: str
    hostname: str


@dataclass(frozen=True, eq=False)
class Cells:
    """Columns of shape (cells,) and what their numbers stand for; sorted by series.

    `context_of` counts in `contexts`, each the versions by package, also of "python" and "macos".
    `side_of` is 0 for the baseline and 1 for the candidate where two sides were laid out, else 0.
    The values of cell i, in its series' unit: values[starts[i] : starts[i + 1]], ascending unless the order
    of time was asked for.
    """

    series: tuple[Series, ...]
    machines: tuple[Machine, ...]
    variants: tuple[Variant, ...]
    contexts: tuple[Mapping[str, str], ...]
    series_of: NDArray[np.int64]
    machine_of: NDArray[np.int64]
    variant_of: NDArray[np.int64]
    context_of: NDArray[np.int64]
    side_of: NDArray[np.int64]
    middles: NDArray[np.float64]
    starts: NDArray[np.int64]
    values: NDArray[np.float64]

    def values_of(self, cell: int) -> NDArray[np.float64]:
        return self.values[self.starts[cell] : self.starts[cell + 1]]

    def results_of(self, rows: NDArray[np.int64]) -> int:
        """How many results are behind these cells, a count."""
        return int((self.starts[rows + 1] - self.starts[rows]).sum())


def read_cells(
    connection: duckdb.DuckDBPyConnection, *, has_sides: bool = False, in_order_of_time: bool = False
) -> Cells:
    """After period.lay_out_measurements and lay_out_contexts; with sides, only what is in `side_run`."""
    side, sides = ("side_run.side", "JOIN side_run USING (run_no)") if has_sides else ("0", "")
    values = IN_ORDER_OF_TIME if in_order_of_time else ASCENDING
    table = connection.sql(CELLS.format(side=side, sides=sides, values=values)).to_arrow_table()
    lists = table.column("values").combine_chunks()
    starts = np.zeros(table.num_rows + 1, dtype=np.int64)
    starts[1:] = np.cumsum(lists.value_lengths().to_numpy(zero_copy_only=False))
    flat = lists.flatten().to_numpy(zero_copy_only=False)
    return Cells(
        series=tuple(Series(*row) for row in connection.execute(SERIES).fetchall()),
        machines=read_machines(connection),
        variants=read_variants(connection),
        contexts=read_contexts(connection),
        series_of=integers(table, "series"),
        machine_of=integers(table, "machine"),
        variant_of=integers(table, "variant"),
        context_of=integers(table, "context"),
        side_of=integers(table, "side"),
        middles=medians(flat, starts, is_ascending=not in_order_of_time),
        starts=starts,
        values=flat,
    )


def lay_out_contexts(connection: duckdb.DuckDBPyConnection) -> None:
    """Makes `context`, a row an environment and build, and `place`, a row a run; after period.lay_out."""
    connection.execute(ENVIRONMENTS, {"watched": list(WATCHED)})
    connection.execute(CONTEXTS)
    connection.execute(PLACES)


def read_machines(connection: duckdb.DuckDBPyConnection) -> tuple[Machine, ...]:
    """By their numbers in the table `place`."""
    return tuple(Machine(*row) for row in connection.execute(MACHINES).fetchall())


def read_variants(connection: duckdb.DuckDBPyConnection) -> tuple[Variant, ...]:
    """By their numbers in the table `place`."""
    return tuple(Variant(*row[1:]) for row in connection.execute(VARIANTS).fetchall())


def read_contexts(connection: duckdb.DuckDBPyConnection) -> tuple[Mapping[str, str], ...]:
    """Versions by package of each number in the table `context`."""
    return tuple(
        {
            **{package["name"]: package["version"] for package in versions},
            PYTHON: python,
            **({MACOS: build} if build else {}),
        }
        for _, versions, python, build in connection.execute(CONTEXT_VERSIONS).fetchall()
    )


def medians(
    values: NDArray[np.float64], starts: NDArray[np.int64], *, is_ascending: bool
) -> NDArray[np.float64]:
    """Of each segment; `is_ascending` says whether each is."""
    counts = np.diff(starts)
    if not is_ascending:
        values = values[np.lexsort((values, np.repeat(np.arange(len(counts)), counts)))]
    return middle_of_segments(values, counts)


def integers(table: Any, name: str) -> NDArray[np.int64]:
    column: NDArray[np.int64] = table.column(name).to_numpy().astype(np.int64)
    return column
