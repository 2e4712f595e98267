"""What a report is made of, before anything is written: sections of paragraphs, lists and grids.

Texts may hold code between backticks; everything else is plain, and each writer escapes it.
"""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Paragraph:
    text: str


@dataclasses.dataclass(frozen=True)
class Bullets:
    """A list. `ticks`, where given, says of each item whether its box is ticked."""

    items: tuple[str, ...]
    ordered: bool = False
    ticks: tuple[bool, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Column:
    """`wraps` marks a column of sentences; a narrow terminal leaves out one that `is_optional`."""

    title: str
    is_number: bool = False
    wraps: bool = False
    is_optional: bool = False


@dataclasses.dataclass(frozen=True)
class Grid:
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class Verbatim:
    """Lines as they were printed, such as a log."""

    text: str


Block = Paragraph | Bullets | Grid | Verbatim


@dataclasses.dataclass(frozen=True)
class Section:
    title: str
    blocks: tuple[Block, ...]
    subsections: tuple[Section, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    title: str
    sections: tuple[Section, ...]
