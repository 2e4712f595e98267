"""How fast each chip variant is: medians of its machines' medians."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmenv.fleet.v1 import fleet_report_pb2 as messages

if TYPE_CHECKING:
    import duckdb

MEDIANS = """
WITH by_machine AS (
  SELECT chip, gpu_cores, memory_bytes, device, check_name, case_name, measurement, unit, direction,
         machine_id, definition_hash, parameters_json, median(value) AS middle, count(*) AS results
  FROM compared WHERE case_name = '' GROUP BY ALL
)
SELECT chip, gpu_cores, memory_bytes, device, check_name, case_name, measurement, unit, direction,
       definition_hash, parameters_json, median(middle), min(middle), max(middle), count(*),
       sum(results)::BIGINT
FROM by_machine GROUP BY ALL
ORDER BY check_name, measurement, device, chip, gpu_cores, memory_bytes, definition_hash, parameters_json
"""


def chips(connection: duckdb.DuckDBPyConnection) -> list[messages.ChipRow]:
    """By check, measurement and device, so that the variants to compare stand below one another."""
    return [chip_row(row) for row in connection.execute(MEDIANS).fetchall()]


def chip_row(row: tuple[Any, ...]) -> messages.ChipRow:
    chip, gpu_cores, memory_bytes, device, check_name, case_name, measurement, unit, direction, *others = row
    definition_hash, parameters_json, median, lowest, highest, machines, results = others
    return messages.ChipRow(
        variant=messages.Variant(chip=chip, gpu_cores=gpu_cores, memory_bytes=memory_bytes),
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
        median=messages.Estimate(value=median, low=lowest, high=highest),
        lowest=lowest,
        highest=highest,
        machines=machines,
        results=results,
    )
