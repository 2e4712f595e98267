"""Writes a report and tables to a terminal: as wide as it is, in colour where that is wanted.

rich looks at NO_COLOR, at whether the stream is a terminal and at COLUMNS.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, TextIO

from llmenv.harmless import harmless
from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from llmenv_cli.render.blocks import Bullets, Grid, Paragraph, Verbatim
from llmenv_cli.render.wrapping import Wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import ConsoleOptions, JustifyMethod, RenderableType

    from llmenv_cli.render.blocks import Block, Column, Report, Section

MARK_STYLES = {"✓": "green", "!": "yellow", "✗": "red", "○": "dim", "?": "magenta"}
INDENT = 2
# Between two columns, and what a column of sentences needs at least.
GAP = 3
SENTENCE_WIDTH = 24
# What is left of it where nothing else gives way.
WORD_WIDTH = 6


def write_report(report: Report, stream: TextIO) -> None:
    """Every section under its heading."""
    console = console_of(stream)
    console.print(Text(report.title, style="bold"))
    for section in report.sections:
        _write_section(section, console)


def write_grid(grid: Grid, stream: TextIO) -> None:
    """One table and nothing else; one that cannot fit has longer lines, and the terminal wraps them."""
    console = console_of(stream)
    shown = _fitting(grid, console.width)
    if _least_total(grid, shown, sentence=WORD_WIDTH, name=WORD_WIDTH) > console.width:
        console.width = _least_total(grid, shown, name=SENTENCE_WIDTH)
    console.print(_grid(grid, console.width))


class _Terminal(Console):
    """Only rich itself writes escape sequences to it; texts are made harmless before they are measured."""

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterator[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(harmless(segment.text), segment.style)


def console_of(stream: TextIO) -> Console:
    """What is printed on it may hold anything."""
    return _Terminal(file=stream, highlight=False, markup=False, emoji=False)


def _write_section(section: Section, console: Console) -> None:
    console.print()
    console.print(Text(section.title, style="bold"))
    for block in section.blocks:
        # What is verbatim can be copied: the terminal wraps it, and no line break comes into a text of SQL.
        console.print(_block(block, console.width), soft_wrap=isinstance(block, Verbatim))
    for subsection in section.subsections:
        _write_section(subsection, console)


def _block(block: Block, width: int) -> RenderableType:
    match block:
        case Paragraph():
            return Wrapped(harmless(block.text))
        case Bullets():
            return _bullets(block)
        case Grid():
            return _grid(block, width)
        case _:
            return Text(textwrap.indent(harmless(block.text).rstrip("\n"), " " * INDENT), style="dim")


def _bullets(block: Bullets) -> RenderableType:
    rows = Table.grid(padding=(0, 1))
    rows.add_column(justify="right")
    rows.add_column(ratio=1)
    for number, item in enumerate(block.items):
        mark = f"{number + 1}." if block.ordered else "•"
        if block.ticks is not None:
            mark = "✓" if block.ticks[number] else "○"
        rows.add_row(_styled(mark), Wrapped(harmless(item)))
    return Group(rows)


def _grid(grid: Grid, width: int) -> Table:
    shown = _fitting(grid, width)
    # rich would cut cells that do not fit: a name is folded instead, so that no figure loses a digit.
    folds = _least_total(grid, shown, sentence=WORD_WIDTH) > width
    has_header = any(column.title for column in grid.columns)
    left_out = [column.title for index, column in enumerate(grid.columns) if index not in shown]
    table = Table(
        box=box.SIMPLE_HEAD,
        show_header=has_header,
        show_edge=False,
        pad_edge=False,
        caption=Text(f"--format md: + {', '.join(left_out)}", style="dim") if left_out else None,
        caption_justify="left",
    )
    for index in shown:
        column = grid.columns[index]
        justify: JustifyMethod = "right" if column.is_number else "left"
        may_wrap = _may_wrap(column) or (folds and not column.is_number)
        table.add_column(Text(column.title), justify=justify, no_wrap=not may_wrap, overflow="fold")
    for row in grid.rows:
        table.add_row(*(_cell(row[index], grid.columns[index]) for index in shown))
    return table


def _may_wrap(column: Column) -> bool:
    """Columns without a title hold the values of a list of facts."""
    return column.wraps or not column.title


def _fitting(grid: Grid, width: int) -> list[int]:
    """The columns to show: optional ones are left out from the right until the rest fits."""
    shown = list(range(len(grid.columns)))
    optional = [index for index in shown if grid.columns[index].is_optional]
    while optional and _least_total(grid, shown) > width:
        shown.remove(optional.pop())
    return shown


def _least_total(
    grid: Grid, shown: list[int], *, sentence: int = SENTENCE_WIDTH, name: int | None = None
) -> int:
    """Of sentences and names in so much room; names are not folded where none is given, figures never."""
    return sum(_least_width(grid, index, sentence, name) + GAP for index in shown) - GAP


def _least_width(grid: Grid, index: int, sentence: int, name: int | None) -> int:
    column = grid.columns[index]
    widest = max(cell_len(harmless(text)) for text in (column.title, *(row[index] for row in grid.rows)))
    if _may_wrap(column):
        return min(widest, sentence)
    return widest if column.is_number or name is None else min(widest, name)


def _cell(text: str, column: Column) -> RenderableType:
    return Wrapped(harmless(text)) if _may_wrap(column) else _styled(harmless(text))


def _styled(cell: str) -> Text:
    """A cell that begins with a mark of status has its colour."""
    return Text(cell, style=MARK_STYLES.get(cell[:1], "") if cell[1:2] in {"", " "} else "")
