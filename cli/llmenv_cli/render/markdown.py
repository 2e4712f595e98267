"""Writes a report as GitHub-flavoured Markdown."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmenv.harmless import harmless

from llmenv_cli.render.blocks import Bullets, Grid, Paragraph

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from llmenv_cli.render.blocks import Block, Report, Section

# An underscore inside a word means itself.
SPECIAL = re.compile(r"[\\*<\[\]|]|(?<![^\W_])_|_(?![^\W_])")
CODE = re.compile(r"(`[^`]+`)")


def markdown(report: Report) -> str:
    """The whole document, ending with a newline."""
    lines = [f"# {escaped(report.title)}"]
    for section in report.sections:
        lines += ["", *_section(section, level=2)]
    return "\n".join(lines) + "\n"


def grid_lines(grid: Grid) -> Iterator[str]:
    """A table in Markdown, a line each row."""
    yield _row(column.title for column in grid.columns)
    yield "|" + "|".join("---:" if column.is_number else "---" for column in grid.columns) + "|"
    for row in grid.rows:
        yield _row(row)


def escaped(text: str) -> str:
    """One line in which only code between backticks is markup."""
    pieces = CODE.split(harmless(" ".join(text.split())))
    return "".join(
        piece.replace("|", r"\|") if index % 2 else SPECIAL.sub(r"\\\g<0>", piece)
        for index, piece in enumerate(pieces)
    )


def _section(section: Section, *, level: int) -> Iterator[str]:
    yield f"{'#' * level} {escaped(section.title)}"
    for block in section.blocks:
        yield ""
        yield from _block(block)
    for subsection in section.subsections:
        yield ""
        yield from _section(subsection, level=level + 1)


def _block(block: Block) -> Iterator[str]:
    match block:
        case Paragraph():
            yield escaped(block.text)
        case Bullets():
            yield from _bullets(block)
        case Grid():
            yield from grid_lines(block)
        case _:
            yield from _verbatim(block.text)


def _bullets(block: Bullets) -> Iterator[str]:
    for number, item in enumerate(block.items):
        mark = f"{number + 1}." if block.ordered else "-"
        if block.ticks is not None:
            mark += " [x]" if block.ticks[number] else " [ ]"
        yield f"{mark} {escaped(item)}"


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(escaped(cell) for cell in cells) + " |"


def _verbatim(text: str) -> Iterator[str]:
    """A fence longer than any run of backticks inside."""
    fence = "`" * max(3, *(len(run) + 1 for run in re.findall("`+", text)), 3)
    yield from (f"{fence}text", *harmless(text).rstrip("\n").splitlines(), fence)
