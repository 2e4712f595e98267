"""How fast each chip variant is: medians of its machines' medians, as ratios and as shares of a limit.

A row is of the definition and parameters that most machines of the variant have; results with others are
set aside.  A ratio is to the reference's results with that same definition and those same parameters, else
there is none.  Where machines are many, each is one value.  Where they are few and have done few runs,
machines and then their runs are drawn anew.  What depends on no chip, such as a loss or a count, has no row.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from llmenv.catalog import chips as catalogue
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2

from llmenv_collector.errors import NotFoundError
from llmenv_collector.fleet_report.cells import Cells, Series, Variant
from llmenv_collector.fleet_report.closest import closest
from llmenv_collector.fleet_report.rows import estimate_message, series_message, variant_message
from llmenv_collector.statistics.bootstrap import median_interval, ratio_interval
from llmenv_collector.statistics.estimate import Estimate
from llmenv_collector.statistics.grouped import median_ratio_interval, stratified_median_ratio_interval
from llmenv_collector.statistics.nested import Nested, middle_of_segments

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import duckdb
    from numpy.random import Generator
    from numpy.typing import NDArray

SEED = 20_261_130
RESAMPLES = 500
FEW_MACHINES, FEW_RESULTS = 8, 64
"""Below both, runs are drawn anew too; above, a median hardly depends on single runs."""
NOT_OF_THE_CHIP = {"1", "%", "nat", "bit", "step"}
"""Units of counts, shares, losses and errors."""
SHARE = "share_of_"
GIB = 2**30

DEFINITIONS = """
CREATE OR REPLACE TEMP TABLE variant_definition AS
SELECT *, row_number() OVER (
         PARTITION BY chip, gpu_cores, memory_bytes, check_name, device
         ORDER BY machines DESC, newest DESC, definition_hash, parameters_json
       ) = 1 AS is_compared
FROM (
  SELECT variant.chip, variant.gpu_cores, variant.memory_bytes, definition.check_name, definition.device,
         definition.definition_hash, definition.parameters_json, count(*) AS machines,
         sum(counted.results)::BIGINT AS results, max(counted.newest) AS newest
  FROM (
    SELECT place.variant, place.machine, result.definition, count(*) AS results,
           max(place.started_at) AS newest
    FROM found_result AS result JOIN place USING (run_no) ANTI JOIN aside USING (result_no)
    GROUP BY ALL
  ) AS counted
  JOIN definition USING (definition)
  JOIN (
    SELECT place.variant, any_value(chip) AS chip, any_value(gpu_cores) AS gpu_cores,
           any_value(memory_bytes) AS memory_bytes
    FROM place JOIN period_run USING (run_no) GROUP BY place.variant
  ) AS variant USING (variant)
  WHERE counted.definition IN (SELECT definition FROM series)
  GROUP BY ALL
)
"""
COMPARED = """
SELECT chip, gpu_cores, memory_bytes, check_name, device, definition_hash, parameters_json
FROM variant_definition WHERE is_compared
"""
OTHERS = "SELECT coalesce(sum(results), 0)::BIGINT FROM variant_definition WHERE NOT is_compared"


class Definition(NamedTuple):
    """What results of one series have in common, beside what was measured."""

    definition_hash: str
    parameters_json: str


class Place(NamedTuple):
    """Where one definition is chosen."""

    variant: Variant
    check_name: str
    device: str


@dataclass(frozen=True)
class Definitions:
    """The one that each variant is compared with, and how many results have another."""

    chosen: Mapping[Place, Definition]
    other_results: int


@dataclass(frozen=True, eq=False)
class Side:
    """A variant in a series: its machines' medians and the values behind each, in the series' unit."""

    middles: NDArray[np.float64]
    values: tuple[NDArray[np.float64], ...]

    @property
    def results(self) -> int:
        return sum(map(len, self.values))

    @property
    def is_small(self) -> bool:
        return len(self.middles) < FEW_MACHINES and self.results < FEW_RESULTS

    def nested(self) -> Nested:
        return Nested.of([[[value] for value in values.tolist()] for values in self.values])


@dataclass(frozen=True)
class Chips:
    """The section, and the variant that ratios are to."""

    rows: list[messages.ChipRow]
    reference: messages.Variant | None


def read_definitions(connection: duckdb.DuckDBPyConnection) -> Definitions:
    """After period.lay_out_measurements and cells.lay_out_contexts."""
    connection.execute(DEFINITIONS)
    ((others,),) = connection.execute(OTHERS).fetchall()
    chosen = {
        Place(Variant(*row[:3]), row[3], row[4]): Definition(*row[5:])
        for row in connection.execute(COMPARED).fetchall()
    }
    return Definitions(chosen, others)


def judge_chips(
    cells: Cells, definitions: Definitions, *, reference_chip: str = "", confidence: float = 0.95
) -> Chips:
    """By check, case, measurement and device, so that the variants to compare stand below one another.

    Raises NotFoundError for a reference that no machine has.
    """
    if not len(cells.series_of):
        return Chips([], None)
    reference = reference_of(cells, reference_chip)
    rows = chip_rows(cells, definitions, reference=reference, confidence=confidence)
    return Chips(rows, variant_message(cells.variants[reference]))


def chip_rows(
    cells: Cells, definitions: Definitions, *, reference: int, confidence: float
) -> list[messages.ChipRow]:
    """`reference` is the number of a variant; of -1 nothing is a ratio."""
    sides = sides_of(cells)
    shares = shares_of(cells.series, sides)
    rng = np.random.default_rng(SEED)
    rows = []
    for (series_no, variant_no), side in sides.items():
        series, variant = cells.series[series_no], cells.variants[variant_no]
        if not is_of_the_chip(series) or not is_chosen(definitions, series, variant):
            continue
        row = chip_row(series, variant, side, rng=rng, confidence=confidence)
        compared_with = sides.get((series_no, reference))
        if variant_no != reference and compared_with is not None:
            ratio = ratio_of(side, compared_with, rng=rng, confidence=confidence)
            row.ratio.CopyFrom(estimate_message(ratio))
        share = share_of_limit(shares, series, variant, variant_no, row.median.value)
        if share is not None:
            row.share_of_limit = share
        rows.append(row)
    rows.sort(key=order)
    return rows


def is_of_the_chip(series: Series) -> bool:
    return bool(series.direction) and series.unit not in NOT_OF_THE_CHIP


def is_chosen(definitions: Definitions, series: Series, variant: Variant) -> bool:
    wanted = definitions.chosen.get(Place(variant, series.check_name, series.device))
    return wanted == Definition(series.definition_hash, series.parameters_json)


def reference_of(cells: Cells, wanted: str) -> int:
    """The variant with the most machines, of those called "Apple M2 Max", "m2 max/38" or "m2 max/38/96"."""
    machines = np.zeros(len(cells.variants), dtype=np.int64)
    pairs = np.unique(np.stack([cells.variant_of, cells.machine_of]), axis=1)
    np.add.at(machines, pairs[0], 1)
    candidates = [
        number
        for number, variant in enumerate(cells.variants)
        if machines[number] and (not wanted or wanted.casefold() in names_of(variant))
    ]
    if not candidates:
        known = sorted({variant.chip for variant in cells.variants})
        raise NotFoundError(
            f"No machine of this report has the chip {wanted!r}; {closest(wanted, known, kind='there is')}."
        )
    return max(candidates, key=lambda number: (machines[number], -number))


def names_of(variant: Variant) -> set[str]:
    memory = "" if variant.memory_bytes is None else f"{variant.memory_bytes / GIB:g}"
    chip = variant.chip.casefold()
    names = {chip, f"{chip}/{variant.gpu_cores}", f"{chip}/{variant.gpu_cores}/{memory}"}
    return names | {name.removeprefix("apple ") for name in names}


def sides_of(cells: Cells) -> dict[tuple[int, int], Side]:
    """By series and variant; cells come sorted by series and machine."""
    keys = np.stack([cells.series_of, cells.machine_of])
    begins = np.concatenate(([0], np.flatnonzero((keys[:, 1:] != keys[:, :-1]).any(axis=0)) + 1))
    ends = np.concatenate((begins[1:], [len(cells.series_of)]))
    middles = cells.middles[begins].copy()
    several = np.flatnonzero(ends - begins > 1)
    if several.size:
        middles[several] = medians_of(cells, begins[several], ends[several])
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    series, variants = cells.series_of[begins].tolist(), cells.variant_of[begins].tolist()
    for place, key in enumerate(zip(series, variants, strict=True)):
        found[key].append(place)
    starts, stops = cells.starts[begins], cells.starts[ends]
    return {
        key: Side(middles[places], tuple(cells.values[starts[place] : stops[place]] for place in places))
        for key, places in found.items()
    }


def medians_of(cells: Cells, begins: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.float64]:
    """Medians over the values of several cells each, of one machine and series."""
    starts, counts = cells.starts[begins], cells.starts[ends] - cells.starts[begins]
    groups = np.repeat(np.arange(len(begins)), counts)
    places = (
        np.arange(len(groups)) - np.repeat(np.cumsum(counts) - counts, counts) + np.repeat(starts, counts)
    )
    values = cells.values[places]
    return middle_of_segments(values[np.lexsort((values, groups))], counts)


def chip_row(
    series: Series, variant: Variant, side: Side, *, rng: Generator, confidence: float
) -> messages.ChipRow:
    return messages.ChipRow(
        variant=variant_message(variant),
        series=series_message(series),
        median=estimate_message(median_of(side, rng=rng, confidence=confidence)),
        lowest=float(side.middles.min()),
        highest=float(side.middles.max()),
        machines=len(side.middles),
        results=side.results,
    )


def median_of(side: Side, *, rng: Generator, confidence: float) -> Estimate:
    value = float(np.median(side.middles))
    if side.is_small:
        drawn = median_interval(side.nested(), rng=rng, confidence=confidence, resamples=RESAMPLES)
    else:
        drawn = median_ratio_interval(np.log(side.middles), confidence=confidence)
    return Estimate(value, min(drawn.low, value), max(drawn.high, value))


def ratio_of(side: Side, reference: Side, *, rng: Generator, confidence: float) -> Estimate:
    if side.is_small and reference.is_small:
        return ratio_interval(
            side.nested(), baseline=reference.nested(), rng=rng, confidence=confidence, resamples=RESAMPLES
        )
    drawn = stratified_median_ratio_interval(
        [(np.log(side.middles), np.log(reference.middles))],
        rng=rng,
        confidence=confidence,
        resamples=RESAMPLES,
    )
    value = float(np.median(side.middles) / np.median(reference.middles))
    return Estimate(value, min(drawn.low, value), max(drawn.high, value))


class Share(NamedTuple):
    """A measured share of a limit: its name's beginning says of which measurements of its case."""

    measurement: str
    value: float

    @property
    def prefix(self) -> str:
        return self.measurement.partition(SHARE)[0]

    @property
    def is_of_the_chip(self) -> bool:
        """Else of the highest that this process measured."""
        return "measured" not in self.measurement


def shares_of(
    series: Iterable[Series], sides: Mapping[tuple[int, int], Side]
) -> dict[tuple[Series, int], list[Share]]:
    """By what a series has in common with the others of its case, and variant."""
    known = list(series)
    found: dict[tuple[Series, int], list[Share]] = defaultdict(list)
    for (series_no, variant_no), side in sides.items():
        name = known[series_no].measurement
        if SHARE in name and known[series_no].unit == "1":
            share = Share(name, float(np.median(side.middles)))
            found[case_of(known[series_no]), variant_no].append(share)
    return found


def case_of(series: Series) -> Series:
    return series._replace(measurement="", unit="", direction=0)


def share_of_limit(
    shares: Mapping[tuple[Series, int], list[Share]],
    series: Series,
    variant: Variant,
    variant_no: int,
    median: float,
) -> float | None:
    """What the check itself measured of a rate, else the bandwidth that the catalogue knows of the chip."""
    if series.direction != result_pb2.DIRECTION_HIGHER_IS_BETTER:
        return None
    fitting = [
        share
        for share in shares.get((case_of(series), variant_no), ())
        if series.measurement.startswith(share.prefix)
    ]
    if fitting:
        return max(fitting, key=lambda share: (share.is_of_the_chip, len(share.prefix))).value
    if series.unit == "GB/s" and series.measurement.endswith("bandwidth"):
        limit = bandwidth_of(variant)
        return median / limit if limit else None
    return None


def bandwidth_of(variant: Variant) -> float | None:
    """GB/s, where all variants of this name and number of cores have the same."""
    known = {
        one.bandwidth_gb_per_s
        for one in catalogue.variants(variant.chip)
        if variant.gpu_cores in {None, one.gpu_cores}
    }
    return known.pop() if len(known) == 1 else None


def order(row: messages.ChipRow) -> tuple[object, ...]:
    series, variant = row.series, row.variant
    speed = (
        -row.median.value if series.direction == result_pb2.DIRECTION_HIGHER_IS_BETTER else row.median.value
    )
    return (
        series.check_name,
        series.case_name,
        series.measurement,
        series.device,
        series.definition_hash,
        series.parameters_json,
        speed,
        variant.chip,
        variant.gpu_cores,
        variant.memory_bytes,
    )
