"""Values of an answer as JSON and as text: numbers stay numbers, lists and maps stay lists and maps."""

from __future__ import annotations

import datetime as dt
import decimal
import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv_cli.render.listing import Value

DURATION_PARTS = ("months", "days", "nanoseconds")


def rows_of(batch: Any) -> Iterator[dict[str, Any]]:
    """By column, in values that JSON has."""
    names = batch.schema.names
    for row in zip(*(_values(column) for column in batch.columns), strict=True):
        yield dict(zip(names, row, strict=True))


def _values(column: Any) -> Iterator[Any]:
    import pyarrow.types as kinds

    as_whole = dict if kinds.is_map(column.type) else (lambda value: value)  # pyarrow gives pairs
    return (None if value is None else json_value(as_whole(value)) for value in column.to_pylist())


def json_value(value: Any) -> Any:
    """NULL for what is no number, as JSON has none such."""
    match value:
        case list():
            return [json_value(each) for each in value]
        case dict():
            return {str(key): json_value(each) for key, each in value.items()}
        case tuple() if len(value) == len(DURATION_PARTS):
            return _duration(*value)
        case _:
            return _single(value)


def _single(value: Any) -> str | float | bool | None:
    match value:
        case float() if not math.isfinite(value):
            return None
        case None | bool() | int() | float() | str():
            return value
        case decimal.Decimal():
            return int(value) if value == value.to_integral_value() else float(value)
        case _:
            return value.isoformat() if isinstance(value, dt.date | dt.time) else str(value)


def _duration(months: int, days: int, nanoseconds: int) -> str:
    """As ISO 8601 writes it."""
    return f"P{months}M{days}DT{nanoseconds / 1e9:g}S"


def plain_value(value: Any) -> Value:
    """In one cell: a list or a map is JSON there."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    plain: Value = value
    return plain
