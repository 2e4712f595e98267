"""Values for the parameters of a statement: typed, sent beside it, never pasted into its text."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING

from llmenv_cli.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmenv.fleet.v1.fleet_service_pb2 import QueryParameter

WRITTEN = re.compile(r"\$?(?P<name>[A-Za-z_]\w*|[1-9]\d*)(?::(?P<kind>[a-z]+))?=(?P<value>.*)", re.DOTALL)
INT64 = range(-(2**63), 2**63)
FLAGS = {"true": True, "false": False}


def parameters_of(written: Iterable[str]) -> list[QueryParameter]:
    """Each NAME=VALUE for text, or NAME:TYPE=VALUE. Raises UsageError."""
    found: dict[str, QueryParameter] = {}
    for text in written:
        parameter = parameter_of(text)
        if parameter.name in found:
            raise UsageError(f"The parameter {parameter.name} is given twice.")
        found[parameter.name] = parameter
    return list(found.values())


def parameter_of(text: str) -> QueryParameter:
    parts = WRITTEN.fullmatch(text)
    if parts is None:
        raise UsageError(
            f"{text!r} is no parameter: write NAME=VALUE, or NAME:TYPE=VALUE with {', '.join(KINDS)}."
        )
    name, kind, value = parts["name"], parts["kind"] or "text", parts["value"]
    if kind not in KINDS:
        raise UsageError(f"The parameter {name} is {kind!r}, and not {', '.join(KINDS)}.")
    try:
        return KINDS[kind](name, value)
    except (ValueError, KeyError) as error:
        raise UsageError(f"The parameter {name} is no {kind}: {value!r}.") from error


def _text(name: str, value: str) -> QueryParameter:
    value.encode()  # what came in as bytes that are no UTF-8 cannot be sent
    return _parameter(name, text=value)


def _integer(name: str, value: str) -> QueryParameter:
    if (number := int(value)) not in INT64:
        raise ValueError(value)
    return _parameter(name, integer=number)


def _time(name: str, value: str) -> QueryParameter:
    """A date or a time in ISO 8601; without a zone it is UTC, as times in the views are."""
    parameter = _parameter(name)
    moment = dt.datetime.fromisoformat(value)
    parameter.time.FromDatetime(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC))
    return parameter


def _null(name: str, value: str) -> QueryParameter:
    if value:
        raise ValueError(value)
    return _parameter(name)


def _parameter(name: str, **value: str | float | bool) -> QueryParameter:
    from llmenv.fleet.v1.fleet_service_pb2 import QueryParameter

    return QueryParameter(name=name, **value)  # type: ignore[arg-type] # one of its fields, of its type


KINDS: dict[str, Callable[[str, str], QueryParameter]] = {
    "text": _text,
    "integer": _integer,
    "number": lambda name, value: _parameter(name, number=float(value)),
    "boolean": lambda name, value: _parameter(name, boolean=FLAGS[value.lower()]),
    "time": _time,
    "null": _null,
}
