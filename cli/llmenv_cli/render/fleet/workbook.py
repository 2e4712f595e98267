"""Tables of a report as a workbook: a sheet a table, numbers as numbers, and no text that is ever executed.

xlsxwriter is needed here alone, and loaded here.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import io
import math
from typing import TYPE_CHECKING, Any

from llmenv.harmless import harmless

from llmenv_cli.errors import NotInstalledError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv_cli.render.listing import Listing, Value

# What a cell of a workbook holds at most.
LONGEST_CELL = 32_767
CUT = " [cut]"
MOST_ROWS = 1_048_575
WIDEST, NARROWEST = 60, 8
# No text becomes a formula, a link or a number.
OPTIONS = {
    "in_memory": True,
    "strings_to_formulas": False,
    "strings_to_urls": False,
    "strings_to_numbers": False,
}


def require_xlsxwriter() -> None:
    """Raises NotInstalledError before anything is asked."""
    if importlib.util.find_spec("xlsxwriter") is None:
        raise NotInstalledError(
            "A workbook needs xlsxwriter, which is not installed: pip install 'llmenv[xlsx]'."
        )


def workbook(tables: Mapping[str, Listing], *, title: str, created: dt.datetime) -> bytes:
    """Tables without a row have no sheet."""
    import xlsxwriter

    content = io.BytesIO()
    with xlsxwriter.Workbook(content, OPTIONS) as book:
        book.set_properties({"title": title, "created": created})
        heading = book.add_format({"bold": True})
        time = book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        for name, table in tables.items():
            if table.rows:
                _write(book.add_worksheet(name), table, heading, time)
    return content.getvalue()


def _write(sheet: Any, table: Listing, heading: Any, time: Any) -> None:
    rows = table.rows[:MOST_ROWS]
    for column, field in enumerate(table.fields):
        sheet.write_string(0, column, field.key, heading)
        for number, row in enumerate(rows, 1):
            _write_cell(sheet, number, column, row.values[field.key], time)
        widest = max((len(str(row.values[field.key])) for row in rows), default=0)
        sheet.set_column(column, column, min(max(widest, len(field.key), NARROWEST) + 2, WIDEST))
    sheet.freeze_panes(1, 0)
    sheet.autofilter(0, 0, len(rows), len(table.fields) - 1)


def _write_cell(sheet: Any, row: int, column: int, value: Value, time: Any) -> None:
    if value is None or value == "":
        return
    if isinstance(value, bool):
        sheet.write_boolean(row, column, value)
    elif isinstance(value, int | float) and math.isfinite(value):
        sheet.write_number(row, column, value)
    elif isinstance(value, dt.datetime):
        sheet.write_datetime(row, column, value.replace(tzinfo=None), time)
    else:
        sheet.write_string(row, column, _text(str(value)))


def _text(value: str) -> str:
    said = harmless(value)
    return said if len(said) <= LONGEST_CELL else said[: LONGEST_CELL - len(CUT)] + CUT
