"""Writes a report and tables to a terminal: as wide as it is, in colour where that is wanted.

rich looks at NO_COLOR, at whether the stream is a terminal and at COLUMNS.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TextIO

from rich import box
from rich.console import Console, Group
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from llmenv_cli.render.blocks import Bullets, Grid, Paragraph

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import RenderableType

    from llmenv_cli.render.blocks import Block, Report, Section

MARK_STYLES = {"✓": "green", "!": "yellow", "✗": "red", "○": "dim", "?": "magenta"}
INDENT = 2


def write_report(report: Report, stream: TextIO) -> None:
    """Every section under its heading."""
    console = _console(stream)
    console.print(Text(report.title, style="bold"))
    for section in report.sections:
        _write_section(section, console)


def write_grid(grid: Grid, stream: TextIO) -> None:
    """One table and nothing else."""
    _console(stream).print(_grid(grid))


def _console(stream: TextIO) -> Console:
    return Console(file=stream, highlight=False, markup=False, emoji=False)


def _write_section(section: Section, console: Console) -> None:
    console.print()
    console.print(Text(section.title, style="bold"))
    for block in section.blocks:
        console.print(_block(block))
    for subsection in section.subsections:
        _write_section(subsection, console)


def _block(block: Block) -> RenderableType:
    match block:
        case Paragraph():
            return Text(block.text)
        case Bullets():
            return _bullets(block)
        case Grid():
            return _grid(block)
        case _:
            return Padding(Text(block.text.rstrip("\n"), style="dim"), (0, 0, 0, INDENT))


def _bullets(block: Bullets) -> RenderableType:
    rows = Table.grid(padding=(0, 1))
    rows.add_column(justify="right")
    rows.add_column(ratio=1)
    for number, item in enumerate(block.items):
        mark = f"{number + 1}." if block.ordered else "•"
        if block.ticks is not None:
            mark = "✓" if block.ticks[number] else "○"
        rows.add_row(_styled(mark), Text(item))
    return Group(rows)


def _grid(grid: Grid) -> Table:
    has_header = any(column.title for column in grid.columns)
    table = Table(box=box.SIMPLE_HEAD, show_header=has_header, show_edge=False, pad_edge=False)
    for column in grid.columns:
        table.add_column(
            Text(column.title),
            justify="right" if column.is_number else "left",
            no_wrap=column.is_number,
            overflow="fold",
        )
    for row in grid.rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Iterable[str]) -> list[Text]:
    return [_styled(cell) for cell in row]


def _styled(cell: str) -> Text:
    """A cell that begins with a mark of status has its colour."""
    return Text(cell, style=MARK_STYLES.get(cell[:1], "") if cell[1:2] in {"", " "} else "")
