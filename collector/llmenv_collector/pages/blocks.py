"""What a page is made of, before it is HTML: sections of paragraphs, tables, charts and foldable parts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup


@dataclass(frozen=True)
class Cell:
    """Words in a table; escaped when it is laid out."""

    text: str
    key: float | None = None
    """What a column of numbers is sorted by; None to sort by the words."""
    mark: str = ""
    """Class of the verdict or judgement that is shown in front."""
    sign: str = ""
    """The character that says the same as the mark's colour."""
    more: str = ""
    """What unfolds."""
    more_label: str = ""
    href: str = ""


@dataclass(frozen=True)
class Column:
    label: str
    is_number: bool = False
    is_wide: bool = False
    """Holds sentences."""


@dataclass(frozen=True, kw_only=True)
class Table:
    """The first cell of each row names the row."""

    identity: str
    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    is_caption_shown: bool = True
    """Not where the section's title says the same; a screen reader hears it anyway."""

    @property
    def shown(self) -> tuple[tuple[Cell, ...], ...]:
        """The rows that are on the page; how many are not is said there."""
        return self.rows[:MOST_ROWS]

    @property
    def is_narrow(self) -> bool:
        """Whether stretching it over the page would only tear its rows apart."""
        return len(self.columns) <= NARROWEST

    @property
    def is_filtered(self) -> bool:
        """Whether it is long enough for a filter to help."""
        return len(self.rows) > LONGEST_UNFILTERED and not self.is_narrow


@dataclass(frozen=True)
class Paragraph:
    text: str
    tone: str = ""
    """A class: "lead", "note" or none."""


@dataclass(frozen=True)
class Bullets:
    """Sentences, each of which stands for itself."""

    items: tuple[str, ...]


@dataclass(frozen=True)
class Chart:
    """A drawing and what it is called."""

    title: str
    drawing: Markup
    note: str = ""


@dataclass(frozen=True)
class Charts:
    """Charts beside one another where there is room."""

    charts: tuple[Chart, ...]


@dataclass(frozen=True)
class Wide:
    """A chart wider than a phone, which scrolls within itself."""

    label: str
    chart: Markup
    legend: Legend


@dataclass(frozen=True)
class Legend:
    """What the marks of the charts below mean."""

    entries: tuple[Cell, ...]


@dataclass(frozen=True)
class Query:
    """A statement, as it is to be copied."""

    label: str
    statement: str


@dataclass(frozen=True)
class Fold:
    """Open at first only where it says so."""

    summary: str
    blocks: tuple[Block, ...]
    is_open: bool = False


@dataclass(frozen=True)
class Tile:
    """One figure that a reader takes in at a glance."""

    figure: str
    label: str
    note: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Tiles:
    tiles: tuple[Tile, ...]


Block = Table | Paragraph | Bullets | Charts | Wide | Legend | Query | Fold | Tiles


@dataclass(frozen=True)
class Section:
    identity: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)


MOST_ROWS = 200
"""Of a table or a matrix, so that a page of any fleet stays quick."""
LONGEST_UNFILTERED = 7
NARROWEST = 2
