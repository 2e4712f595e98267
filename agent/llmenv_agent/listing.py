"""Listings of the agent: rows under headings, as a table for people, CSV, or Markdown."""

from __future__ import annotations

import csv
import io
import shutil
import textwrap
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

FORMATS = ("table", "json", "csv", "md")
_GAP = "  "
_LEAST_LAST_WIDTH = 12
_NOTE_INDENT = "    "


def as_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, notes: Sequence[str] = (), width: int = 0
) -> str:
    """Aligned columns of which the last is wrapped; the note of a row stands indented below it.

    `width` in characters is the terminal's (or COLUMNS) where it is 0.
    """
    width = width or shutil.get_terminal_size().columns
    widths = [max(_cells(row[column]) for row in (headings, *rows)) for column in range(len(headings) - 1)]
    last_width = max(_LEAST_LAST_WIDTH, width - sum(widths) - len(_GAP) * len(widths))
    lines: list[str] = []
    for number, row in enumerate((headings, *rows)):
        lines += _aligned(row, widths, last_width)
        if notes and number:
            note = textwrap.wrap(notes[number - 1], width - len(_NOTE_INDENT))
            lines += [_NOTE_INDENT + line for line in note]
    return "\n".join(lines)


def as_csv(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lines as RFC 4180 has them, but for the line ends."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([headings, *rows])
    return text.getvalue().removesuffix("\n")


def as_markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of GitHub's Markdown."""
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _aligned(row: Sequence[str], widths: Sequence[int], last_width: int) -> list[str]:
    last = textwrap.wrap(row[-1], last_width, break_long_words=False) or [""]
    cells = [cell + " " * (width - _cells(cell)) for cell, width in zip(row[:-1], widths, strict=True)]
    blank = [" " * width for width in widths]
    return [
        _GAP.join([*(cells if number == 0 else blank), piece]).rstrip() for number, piece in enumerate(last)
    ]


def _cells(text: str) -> int:
    """What a terminal needs for it: Chinese characters are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
