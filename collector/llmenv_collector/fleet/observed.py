"""What the results of one run observed, from the tables in which it lies, put back into their messages."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, TypeAlias

from llmenv.fleet.v1 import machine_pb2, result_pb2

from llmenv_collector.delivery.fields import number_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

Rows: TypeAlias = "dict[tuple[str, Any], list[list[Any]]]"
MEASUREMENT = ("name", "unit", "value", "direction", "trials", "warmups", "stability")
FACT = ("name", "text", "number", "flag", "unit")
EXPECTATION = ("name", "met", "expected", "observed", "source")
CONDITIONS = tuple(field.name for field in machine_pb2.Conditions.DESCRIPTOR.fields)
VARIABLE = ("name", "value")


class Observed:
    """Of the results of one machine; rows are in the order in which they were delivered."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, machine_id: str, result_ids: Sequence[str]
    ) -> None:
        self._connection = connection
        self._of = {
            "machine": machine_id,
            "results": list(result_ids),
            "first": min(result_ids, default=None),
            "last": max(result_ids, default=None),
        }
        self._measurements = self._rows("measurement", "case_name", MEASUREMENT)
        self._facts = self._rows("fact", "case_name", FACT)
        self._expectations = self._rows("expectation", "NULL", EXPECTATION)
        self._variables = self._rows("result_variable", "NULL", VARIABLE)
        self._conditions = self._rows("condition", "moment", CONDITIONS)
        self._removed = self._rows("measurement", "spread IS NOT NULL", ("result_id::VARCHAR",))

    def _rows(self, table: str, part: str, columns: Sequence[str]) -> Rows:
        """By record and part, in the order of the table; bounds spare reading what lies far from them."""
        rows = self._connection.execute(
            f"SELECT record_id::VARCHAR, {part}, {', '.join(columns)} FROM store.{table}"  # noqa: S608 (our own names)
            " WHERE machine_id = $machine AND result_id BETWEEN $first::UUID AND $last::UUID"
            " AND list_contains($results::UUID[], result_id)",
            self._of,
        ).fetchall()
        found: Rows = defaultdict(list)
        for record_id, of_part, *values in rows:
            found[record_id, of_part].append(values)
        return found

    def without_trials(self, result_id: str) -> int:
        """Measurements of the result and its cases whose trials were removed, a count."""
        return sum(rows.count([result_id]) for (_, is_removed), rows in self._removed.items() if is_removed)

    def fill_case(self, case: result_pb2.Case, record_id: str) -> None:
        """A name is unique within its check; where an agent says it twice, the first has what both saw."""
        del case.measurements[:], case.facts[:]
        case.measurements.extend(map(measurement, self._measurements.pop((record_id, case.name), ())))
        case.facts.extend(map(fact, self._facts.pop((record_id, case.name), ())))

    def fill_result(self, result: result_pb2.Result, record_id: str) -> None:
        del result.measurements[:], result.facts[:], result.expectations[:]
        result.measurements.extend(map(measurement, self._measurements[record_id, None]))
        result.facts.extend(map(fact, self._facts[record_id, None]))
        for row in self._expectations[record_id, None]:
            result.expectations.add(**stated(EXPECTATION, row))
        result.environment_variables.update(map(tuple, self._variables[record_id, None]))
        for row in self._conditions[record_id, "before"]:
            result.conditions_before.CopyFrom(conditions(row))
        for row in self._conditions[record_id, "after"]:
            result.conditions_after.CopyFrom(conditions(row))


def measurement(row: Sequence[Any]) -> result_pb2.Measurement:
    fields = stated(MEASUREMENT, row)
    if word := fields.pop("stability", ""):
        fields["stability"] = number_of(result_pb2.Stability, "STABILITY_", word)
    return result_pb2.Measurement(**fields)


def fact(row: Sequence[Any]) -> result_pb2.Fact:
    return result_pb2.Fact(**stated(FACT, row))


def conditions(row: Sequence[Any]) -> machine_pb2.Conditions:
    fields = stated(CONDITIONS, row)
    fields["session_type"] = number_of(machine_pb2.SessionType, "SESSION_TYPE_", fields["session_type"])
    return machine_pb2.Conditions(**fields)


def stated(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """Without what is NULL: it was not stated."""
    return {name: value for name, value in zip(names, values, strict=True) if value is not None}
