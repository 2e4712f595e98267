"""What charts of rows share: a label above each line, so that they fit a phone, and an axis below all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.plot import svg

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmenv_collector.plot.scales import Scale

WIDTH = 360.0
MARGIN = 8.0
ROW_HEIGHT = 38.0
LABEL_HEIGHT = 15.0
TOP = 6.0
AXIS_HEIGHT = 38.0


def height(rows: int) -> float:
    return TOP + rows * ROW_HEIGHT + AXIS_HEIGHT


def label_y(row: int) -> float:
    return TOP + row * ROW_HEIGHT + LABEL_HEIGHT - 3


def line_y(row: int) -> float:
    return TOP + row * ROW_HEIGHT + LABEL_HEIGHT + 10


def bottom(rows: int) -> float:
    return TOP + rows * ROW_HEIGHT + 2


def heading(row: int, label: str, figures: str) -> str:
    """A label at the left and figures at the right, above the row's line."""
    bold = 1.12
    room = WIDTH - 2 * MARGIN - min(svg.width_of(figures) * bold + 8, WIDTH * 0.62)
    return svg.text(svg.shortened(label, units=room), x=MARGIN, y=label_y(row), class_="label") + svg.text(
        figures, x=WIDTH - MARGIN, y=label_y(row), class_="figures"
    )


def whisker(scale: Scale, *, row: int, low: float, high: float, class_: str) -> str:
    """An interval with caps at its ends."""
    y, left, right = line_y(row), scale(low), scale(high)
    path = "".join(
        f"M{svg.number(x1)} {svg.number(y1)}L{svg.number(x2)} {svg.number(y2)}"
        for x1, y1, x2, y2 in ((left, y, right, y), (left, y - 4, left, y + 4), (right, y - 4, right, y + 4))
    )
    return svg.element("path", d=path, class_=f"whisker {class_}")


def axis(scale: Scale, *, rows: int, caption: str, count: int = 4) -> str:
    """Ticks below the rows, each with a thin line through all of them, and what they are of."""
    return "".join(grid_lines(scale, rows=rows, count=count)) + svg.text(
        caption, x=WIDTH / 2, y=bottom(rows) + 31, class_="axis-name"
    )


def grid_lines(scale: Scale, *, rows: int, count: int) -> Iterable[str]:
    y = bottom(rows)
    for tick in scale.ticks(count):
        x = scale(tick.value)
        half = svg.width_of(tick.label) / 2
        yield svg.line(x1=x, y1=TOP, x2=x, y2=y, class_="grid")
        yield svg.text(tick.label, x=min(max(x, MARGIN / 2 + half), WIDTH - half), y=y + 15, class_="tick")
