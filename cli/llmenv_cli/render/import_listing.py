"""Imports as rows: which file, from where, by whom, and whether it counts."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from llmenv_cli.render.listing import Field, Listing, Row
from llmenv_cli.render.sections.wording import when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_service_pb2 import ImportedFile

COLUMNS = (
    "import_id",
    "source",
    "file_name",
    "good_rows",
    "refused_rows",
    "imported_at",
    "imported_by",
    "import_state",
    "withdrawn_at",
    "withdrawn_by",
)
TITLES = {"source": "import_source"}
NUMBERS = frozenset({"good_rows", "refused_rows"})
OPTIONAL = frozenset({"refused_rows", "imported_by"})
FOR_PROGRAMS = frozenset({"withdrawn_at", "withdrawn_by"})
TELLING = 13
"""Characters of an id that hold its time to the millisecond: nobody imports two files in one."""


def imports_listing(found: Iterable[ImportedFile], texts: Texts) -> Listing:
    """A row a file."""
    fields = [
        Field(
            key=key,
            title=texts.say(f"column.{TITLES.get(key, key)}"),
            is_number=key in NUMBERS,
            is_optional=key in OPTIONAL,
        )
        for key in COLUMNS
    ]
    return Listing(fields=fields, rows=[_row(one, texts) for one in found], hidden=FOR_PROGRAMS)


def _row(one: ImportedFile, texts: Texts) -> Row:
    is_withdrawn = one.HasField("withdrawn_at")
    state = "withdrawn" if is_withdrawn else "in_force"
    return Row(
        values={
            "import_id": one.import_id,
            "source": one.source,
            "file_name": one.file_name,
            "good_rows": one.good_rows,
            "refused_rows": one.refused_rows,
            "imported_at": one.imported_at.ToDatetime(dt.UTC),
            "imported_by": one.imported_by,
            "import_state": state,
            "withdrawn_at": one.withdrawn_at.ToDatetime(dt.UTC) if is_withdrawn else None,
            "withdrawn_by": one.withdrawn_by,
        },
        shown={
            "import_id": one.import_id[:TELLING],
            "imported_at": when_in_column(one.imported_at),
            "good_rows": f"{one.good_rows:,}",
            "refused_rows": f"{one.refused_rows:,}",
            "import_state": texts.say("imports.gone" if is_withdrawn else "imports.in_force"),
        },
    )
