"""A matrix of verdicts: a row a machine, a column a check, a letter and a shade in each cell.

All cells of a status are one path and one text, so that a fleet of 100 machines stays small.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.plot import svg

if TYPE_CHECKING:
    from collections.abc import Sequence

CELL, GAP = 18.0, 2.0
MOST_LABEL_UNITS, MOST_NAME_UNITS = 190.0, 170.0
LEAN_DEGREES = 62.0
RISE, RUN = math.sin(math.radians(LEAN_DEGREES)), math.cos(math.radians(LEAN_DEGREES))


@dataclass(frozen=True)
class Verdict:
    """How cells of one status look."""

    class_: str
    letter: str
    """A single character."""
    name: str
    """What it is called, for whoever points at a cell."""


@dataclass(frozen=True, kw_only=True)
class MatrixRow:
    label: str
    cells: tuple[str, ...]
    """A status word a column."""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Rows and columns in the order given."""

    identity: str
    """Of the page's elements that belong to it."""
    title: str
    description: str
    columns: tuple[str, ...]
    rows: tuple[MatrixRow, ...]
    verdicts: dict[str, Verdict]
    """By status word."""


@dataclass(frozen=True)
class Place:
    """Where the cells begin."""

    left: float
    top: float


def render(matrix: Matrix) -> str:
    longest = widest([row.label for row in matrix.rows], MOST_LABEL_UNITS)
    name = widest(matrix.columns, MOST_NAME_UNITS)
    place = Place(left=longest + 12, top=name * RISE + 14)
    return svg.figure(
        *(column_name(place, number, name) for number, name in enumerate(matrix.columns)),
        *(row_name(place, number, row.label) for number, row in enumerate(matrix.rows)),
        *(cells_of(matrix, place, word, verdict) for word, verdict in matrix.verdicts.items()),
        width=place.left + len(matrix.columns) * CELL + name * RUN + 10,
        height=place.top + len(matrix.rows) * CELL + 4,
        identity=matrix.identity,
        title=matrix.title,
        description=matrix.description,
        class_="matrix",
        data_cell=CELL,
        data_left=place.left,
        data_top=place.top,
    )


def widest(names: Sequence[str], most: float) -> float:
    return min(max((svg.width_of(name) for name in names), default=0.0), most)


def column_name(place: Place, number: int, name: str) -> str:
    x, y = place.left + number * CELL + CELL / 2 + 3, place.top - 6
    said = svg.words(svg.shortened(name, units=MOST_NAME_UNITS))
    turned = f"rotate(-{svg.number(LEAN_DEGREES)} {svg.number(x)} {svg.number(y)})"
    return svg.element("text", said, x=x, y=y, transform=turned, class_="column", data_name=name)


def row_name(place: Place, number: int, label: str) -> str:
    y = place.top + number * CELL + CELL / 2 + 3
    said = svg.words(svg.shortened(label, units=MOST_LABEL_UNITS))
    return svg.element("text", said, x=place.left - 8, y=y, class_="machine", data_name=label)


def cells_of(matrix: Matrix, place: Place, word: str, verdict: Verdict) -> str:
    corners = [
        (place.left + column * CELL, place.top + row * CELL)
        for row, line in enumerate(matrix.rows)
        for column, found in enumerate(line.cells)
        if found == word
    ]
    if not corners:
        return ""
    side = svg.number(CELL - GAP)
    path = "".join(f"M{svg.number(x)} {svg.number(y)}h{side}v{side}h-{side}z" for x, y in corners)
    middle = (CELL - GAP) / 2
    letters = svg.element(
        "text",
        svg.words(verdict.letter * len(corners)),
        x=" ".join(svg.number(x + middle) for x, _ in corners),
        y=" ".join(svg.number(y + middle + 4) for _, y in corners),
        class_=f"letter {verdict.class_}",
    )
    name = svg.element("title", svg.words(verdict.name))
    return svg.element("path", name, d=path, class_=f"cell {verdict.class_}") + letters
