"""A view in parts: which months it has, how many rows, and whether they are still what was exported.

The collector computes a sum over the hashes of a month's rows, so that a month is sent again when anything in
it changed: results that came late, a row that was ingested anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import re
from typing import TYPE_CHECKING

from llmenv_cli.errors import UsageError
from llmenv_cli.sql.answer import Answer
from llmenv_cli.sql.parameters import parameters_of
from llmenv_cli.sql.values import rows_of

if TYPE_CHECKING:
    from llmenv.fleet.v1.fleet_service_pb2 import QueryParameter

    from llmenv_cli.client import FleetClient
    from llmenv_cli.sql.views import View

NAME = re.compile(r"[a-z][a-z0-9_]*")
MONTH = re.compile(r"\d{4,5}-(?:0[1-9]|1[0-2])")
WHOLE, UNDATED = "all", "undated"
NO_BEGIN, NO_END = "", "~"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """Rows of a view at the collector. `month` is such as 2026-03, WHOLE, or UNDATED without a time."""

    view: str
    month: str
    rows: int
    fingerprint: str


@dataclasses.dataclass(frozen=True)
class Span:
    """Whole months, both included, as text that sorts."""

    first: str = NO_BEGIN
    last: str = NO_END

    def covers(self, month: str) -> bool:
        """What has no time belongs to each span."""
        return month in {WHOLE, UNDATED} or self.first <= month <= self.last


def parts_of(client: FleetClient, view: View, span: Span) -> list[Part]:
    """Those of the span; a view of what is has one part, and rows without a time are one."""
    statement = (
        f"SELECT month, count(*) AS rows, sum(hash(row)::HUGEINT)::VARCHAR AS total FROM ({source(view)})"  # noqa: S608 (a checked name)
        " GROUP BY month ORDER BY month"
    )
    with contextlib.closing(client.query(statement, max_rows=0)) as parts:
        answer = Answer(parts)
        found = [row for batch in answer.batches() for row in rows_of(batch)]
    if answer.is_truncated:
        raise UsageError(f"{view.name} has more months than an answer may have rows: {len(found):,}.")
    return [
        Part(
            view=view.name, month=row["month"], rows=row["rows"], fingerprint=f"{row['rows']}:{row['total']}"
        )
        for row in found
        if span.covers(checked_month(row["month"]))
    ]


def rows_statement(view: View, *, pieces: int) -> str:
    """The rows of $month; of several pieces those of $piece."""
    piece = f" AND hash(row) % {pieces} = $piece" if pieces > 1 else ""
    return f"SELECT unnest(row) FROM ({source(view)}) WHERE month = $month{piece}"  # noqa: S608 (a checked name)


def parameters(month: str, *, piece: int, pieces: int) -> list[QueryParameter]:
    return parameters_of([f"month={month}", *([f"piece:integer={piece}"] if pieces > 1 else [])])


def source(view: View) -> str:
    """Each row of the view as a struct, with its month."""
    if view.time_column is None:
        return f"SELECT view AS row, '{WHOLE}' AS month FROM v1.{view.name} AS view"  # noqa: S608 (a checked name)
    owner, _, column = view.time_column.rpartition(".")
    if owner:
        return (
            f"SELECT view AS row, {month_of('owner.time')} AS month FROM v1.{view.name} AS view"  # noqa: S608 (checked names)
            f" LEFT JOIN (SELECT machine_id, result_id, min({column}) AS time FROM v1.{owner} GROUP BY ALL)"
            " AS owner USING (machine_id, result_id)"
        )
    return f"SELECT view AS row, {month_of(f'view.{column}')} AS month FROM v1.{view.name} AS view"  # noqa: S608 (checked names)


def month_of(time: str) -> str:
    return f"coalesce(strftime({time}, '%Y-%m'), '{UNDATED}')"


def require_sound(view: View) -> None:
    """Its names become parts of statements and of paths. Raises UsageError."""
    names = [view.name, *(view.time_column or view.name).split(".")]
    if strange := [name for name in names if not NAME.fullmatch(name)]:
        raise UsageError(f"The collector names a view {strange[0]!r}, which is no name of a file.")


def checked_month(month: str) -> str:
    if month not in {WHOLE, UNDATED} and not MONTH.fullmatch(month):
        raise UsageError(f"The collector names a month {month!r}, which is none.")
    return month


def span_of(since: str, until: str | None, *, now: dt.datetime) -> Span:
    """Raises ValueError for what is neither "all" nor a month, a date or a length of time."""
    first = NO_BEGIN if since == "all" else month_named(since, now=now)
    last = NO_END if until is None else month_named(until, now=now)
    if first > last:
        raise ValueError(f"--since {since} is after --until {until}.")
    return Span(first, last)


def month_named(text: str, *, now: dt.datetime) -> str:
    """The month in which it lies."""
    if MONTH.fullmatch(text):
        return text
    if length := re.fullmatch(r"(\d{1,5})d", text):
        return f"{now - dt.timedelta(days=int(length[1])):%Y-%m}"
    try:
        return f"{dt.date.fromisoformat(text):%Y-%m}"
    except ValueError:
        message = f"{text!r} is no month such as 2026-03, no date such as 2026-03-15 and no days such as 90d."
        raise ValueError(message) from None
