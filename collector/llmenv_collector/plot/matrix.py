"""A matrix of verdicts: a row a machine, a column a check, a letter and a shade in each cell.

All cells of a status are one path and one text, so that a fleet of 100 machines stays small.
"""

from __future__ import annotations

from dataclasses import dataclass

from llmenv_collector.plot import svg

CELL, GAP = 18.0, 2.0
LABEL_UNITS = 178.0
HEAD_HEIGHT = 118.0
SLOPE = 0.5
"""How far a column's name leans to the right: sine of 60 degrees would be too long for a phone."""


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


def render(matrix: Matrix) -> str:
    width = LABEL_UNITS + len(matrix.columns) * CELL + HEAD_HEIGHT * SLOPE + 24
    return svg.figure(
        *(column_name(number, name) for number, name in enumerate(matrix.columns)),
        *(row_name(number, row.label) for number, row in enumerate(matrix.rows)),
        *(cells_of(matrix, word, verdict) for word, verdict in matrix.verdicts.items()),
        width=width,
        height=HEAD_HEIGHT + len(matrix.rows) * CELL + 4,
        identity=matrix.identity,
        title=matrix.title,
        description=matrix.description,
        class_="matrix",
        data_cell=CELL,
        data_left=LABEL_UNITS,
        data_top=HEAD_HEIGHT,
    )


def column_name(number: int, name: str) -> str:
    x, y = LABEL_UNITS + number * CELL + CELL / 2 + 3, HEAD_HEIGHT - 6
    said = svg.words(svg.shortened(name, units=HEAD_HEIGHT * 1.06))
    turned = f"rotate(-62 {svg.number(x)} {svg.number(y)})"
    return svg.element("text", said, x=x, y=y, transform=turned, class_="column", data_name=name)


def row_name(number: int, label: str) -> str:
    y = HEAD_HEIGHT + number * CELL + CELL / 2 + 3
    said = svg.words(svg.shortened(label, units=LABEL_UNITS - 14))
    return svg.element("text", said, x=LABEL_UNITS - 8, y=y, class_="machine", data_name=label)


def cells_of(matrix: Matrix, word: str, verdict: Verdict) -> str:
    places = [
        (LABEL_UNITS + column * CELL, HEAD_HEIGHT + row * CELL)
        for row, line in enumerate(matrix.rows)
        for column, found in enumerate(line.cells)
        if found == word
    ]
    if not places:
        return ""
    side = svg.number(CELL - GAP)
    path = "".join(f"M{svg.number(x)} {svg.number(y)}h{side}v{side}h-{side}z" for x, y in places)
    middle = (CELL - GAP) / 2
    letters = svg.element(
        "text",
        svg.words(verdict.letter * len(places)),
        x=" ".join(svg.number(x + middle) for x, _ in places),
        y=" ".join(svg.number(y + middle + 4) for _, y in places),
        class_=f"letter {verdict.class_}",
    )
    name = svg.element("title", svg.words(verdict.name))
    return svg.element("path", name, d=path, class_=f"cell {verdict.class_}") + letters
