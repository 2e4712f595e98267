"""The views that the collector has, as it describes them itself, and how they are shown."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from typing import TYPE_CHECKING, TextIO

from llmenv_cli.errors import UsageError
from llmenv_cli.render.blocks import Paragraph, Report, Section, Verbatim
from llmenv_cli.render.listing import Field, Listing, Row, write_json, write_listing
from llmenv_cli.sql.answer import Answer
from llmenv_cli.sql.values import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_cli.client import FleetClient

# One statement, for each has a process of its own.
DESCRIBED = """
SELECT views.name, views.meaning, time_column, question, example,
       list({name: each.name, type: type, unit: unit, meaning: each.meaning} ORDER BY position) AS columns
FROM v1.views JOIN v1.view_columns AS each ON each.view = views.name GROUP BY ALL ORDER BY views.name
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ViewColumn:
    name: str
    type: str
    unit: str
    meaning: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    name: str
    meaning: str
    time_column: str | None
    question: str
    example: str
    columns: tuple[ViewColumn, ...]


def views_of(client: FleetClient) -> list[View]:
    """By name."""
    with contextlib.closing(client.query(DESCRIBED, max_rows=0)) as parts:
        return [
            View(**{**row, "columns": tuple(ViewColumn(**column) for column in row["columns"])})
            for batch in Answer(parts).batches()
            for row in rows_of(batch)
        ]


def find_view(views: Sequence[View], name: str) -> View:
    """By its name, with or without the schema. Raises UsageError that says what is near."""
    wanted = name.strip().rstrip(";").removeprefix("v1.").strip('"').lower()
    if found := next((view for view in views if view.name == wanted), None):
        return found
    near = difflib.get_close_matches(wanted, [view.name for view in views], n=2)
    hint = f"did you mean {' or '.join(near)}?" if near else "`llmenv sql --tables` lists them."
    raise UsageError(f"There is no view {name!r}: {hint}")


def write_views(views: Sequence[View], *, output_format: str, stream: TextIO) -> None:
    fields = [
        Field(key="view", title="View"),
        Field(key="columns", title="Columns", is_number=True),
        Field(key="meaning", title="Meaning", wraps=True),
    ]
    rows = [
        Row(values={"view": view.name, "columns": len(view.columns), "meaning": view.meaning})
        for view in views
    ]
    write_listing(Listing(fields=fields, rows=rows), output_format=output_format, stream=stream)


def write_view(view: View, *, output_format: str, stream: TextIO) -> None:
    match output_format:
        case "json":
            write_json(dataclasses.asdict(view), stream)
        case "csv":
            write_listing(_columns(view), output_format="csv", stream=stream)
        case "md":
            from llmenv_cli.render.markdown import markdown

            stream.write(markdown(_report(view)))
        case _:
            from llmenv_cli.render.terminal import write_report

            write_report(_report(view), stream)


def _columns(view: View) -> Listing:
    fields = [
        Field(key="column", title="Column"),
        Field(key="type", title="Type"),
        Field(key="unit", title="Unit"),
        Field(key="meaning", title="Meaning", wraps=True),
    ]
    rows = [
        Row(
            values={
                "column": column.name,
                "type": column.type,
                "unit": column.unit,
                "meaning": column.meaning,
            },
            shown={"type": column.type.replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ")},
        )
        for column in view.columns
    ]
    return Listing(fields=fields, rows=rows)


def _report(view: View) -> Report:
    told = view.meaning
    if view.time_column:
        told += f" Rows have a time: `{view.time_column}`."
    sections = (
        Section(title="Columns", blocks=(Paragraph(told), _columns(view).grid())),
        Section(title="Example", blocks=(Paragraph(view.question), Verbatim(view.example))),
    )
    return Report(title=view.name, sections=sections)
