"""Chips by measurements that were made elsewhere, beside those of this fleet.

They are read apart and never pooled with what our checks measured: each source is judged by itself, under the
name of its benchmark, with a definition that names the source.  They are no runs of this fleet, so no other
section knows of them, and `since` does not narrow them: a public table is as old as it is.  A condition on
machines leaves them out, for their machines are not enrolled.
"""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from llmenv.catalog.sources import definition_of

from llmenv_collector.fleet_report.cells import Cells, Machine, Series, Variant
from llmenv_collector.fleet_report.chips import (
    Definition,
    Definitions,
    Place,
    chip_rows,
    reference_of,
)
from llmenv_collector.fleet_report.rows import variant_message
from llmenv_collector.statistics.nested import middle_of_segments

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.period import Period
    from llmenv_collector.fleet_report.question import Question

PARAMETERS = "{}"
# One row a machine and series, as the files stood at the report's time.
MEASURED = """
SELECT file.source, row.benchmark, row.case_name, row.measurement, row.unit, row.direction, row.device,
       row.machine, row.chip, row.gpu_cores, row.memory_bytes, list_sort(list(row.value)) AS figures
FROM store.imported_measurement AS row JOIN store.imported_file AS file USING (import_id)
WHERE file.imported_at <= make_timestamptz($as_of) AND row.measured_at <= make_timestamptz($as_of)
  AND (file.withdrawn_at IS NULL OR file.withdrawn_at > make_timestamptz($as_of))
  AND (len($checks::VARCHAR[]) = 0 OR list_contains($checks::VARCHAR[], row.benchmark))
GROUP BY ALL ORDER BY ALL
"""


class Row(NamedTuple):
    source: str
    benchmark: str
    case_name: str
    measurement: str
    unit: str
    direction: int
    device: str
    machine: str
    chip: str
    gpu_cores: int | None
    memory_bytes: int | None
    figures: Sequence[float]

    @property
    def series(self) -> Series:
        return Series(
            self.benchmark,
            self.case_name,
            self.measurement,
            self.unit,
            self.direction,
            self.device,
            definition_of(self.source),
            PARAMETERS,
        )

    @property
    def variant(self) -> Variant:
        return Variant(self.chip, self.gpu_cores, self.memory_bytes)


def add_imported(
    response: messages.GetFleetReportResponse,
    connection: duckdb.DuckDBPyConnection,
    analysis: Analysis,
    *,
    period: Period,
    question: Question,
) -> None:
    """After the chips of the fleet: ratios are to the same variant; where there is none, to one of these."""
    found = read_rows(connection, period) if period.machines is None else []
    if not found:
        return
    if not response.method.HasField("reference"):
        cells = cells_of(found)
        chosen = cells.variants[reference_of(cells, question.reference_chip)]
        response.method.reference.CopyFrom(variant_message(chosen))
    reference = variant_of(response.method.reference)
    for _, rows in groupby(found, key=itemgetter(0)):
        cells = cells_of(list(rows))
        response.chips.extend(
            analysis.judge(judge_imported, cells, reference=reference, confidence=question.confidence)
        )


def read_rows(connection: duckdb.DuckDBPyConnection, period: Period) -> list[Row]:
    """By source."""
    found = connection.execute(MEASURED, {"as_of": period.as_of, "checks": sorted(period.checks)}).fetchall()
    return [Row(*row) for row in found]


def cells_of(rows: Sequence[Row]) -> Cells:
    """Of one source.  A machine of one name with other facts is another machine."""
    series = {one: number for number, one in enumerate(sorted({row.series for row in rows}))}
    variants = {one: number for number, one in enumerate(dict.fromkeys(row.variant for row in rows))}
    machines = {
        one: number for number, one in enumerate(dict.fromkeys((row.machine, row.variant) for row in rows))
    }
    ordered = sorted(rows, key=lambda row: (series[row.series], machines[row.machine, row.variant]))
    counts = np.array([len(row.figures) for row in ordered], dtype=np.int64)
    values = np.array([figure for row in ordered for figure in row.figures], dtype=np.float64)
    return Cells(
        series=tuple(series),
        machines=tuple(Machine("", name) for name, _ in machines),
        variants=tuple(variants),
        contexts=({},),
        series_of=numbers([series[row.series] for row in ordered]),
        machine_of=numbers([machines[row.machine, row.variant] for row in ordered]),
        variant_of=numbers([variants[row.variant] for row in ordered]),
        context_of=numbers([0] * len(ordered)),
        side_of=numbers([0] * len(ordered)),
        middles=middle_of_segments(values, counts),
        starts=np.concatenate(([0], np.cumsum(counts))),
        values=values,
    )


def numbers(values: Sequence[int]) -> Any:
    return np.array(values, dtype=np.int64)


def judge_imported(cells: Cells, *, reference: Variant, confidence: float) -> list[messages.ChipRow]:
    """Ratios are to the reference alone; nothing is set aside, since a source is one definition."""
    places = {
        Place(variant, series.check_name, series.device): Definition(series.definition_hash, PARAMETERS)
        for variant in cells.variants
        for series in cells.series
    }
    number = same_variant(cells.variants, reference)
    return chip_rows(cells, Definitions(places, 0), reference=number, confidence=confidence)


def same_variant(variants: Sequence[Variant], wanted: Variant) -> int:
    """Its number; where the source says nothing of memory, chip and cores are enough.  -1 for none."""
    without_memory = wanted._replace(memory_bytes=None)
    for candidate in (wanted, without_memory):
        if candidate in variants:
            return variants.index(candidate)
    return -1


def variant_of(message: messages.Variant) -> Variant:
    return Variant(
        message.chip,
        message.gpu_cores if message.HasField("gpu_cores") else None,
        message.memory_bytes if message.HasField("memory_bytes") else None,
    )
