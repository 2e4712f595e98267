"""An interval chart: a median with its interval in each row, against what is possible at most."""

from __future__ import annotations

from dataclasses import dataclass

from llmenv_collector.plot import rows, svg
from llmenv_collector.plot.marks import Mark, drawn
from llmenv_collector.plot.scales import Linear


@dataclass(frozen=True, kw_only=True)
class IntervalRow:
    """One of those compared."""

    label: str
    figures: str
    """The same in words, at the right."""
    value: float
    low: float
    high: float
    limit: float | None = None
    """What is possible at most, in the same unit."""
    hint: str = ""
    """More, for whoever points at it."""


@dataclass(frozen=True, kw_only=True)
class IntervalChart:
    """Rows of one measurement, in the order given."""

    identity: str
    """Of the page's elements that belong to it."""
    title: str
    description: str
    axis: str
    rows: tuple[IntervalRow, ...]


def render(chart: IntervalChart) -> str:
    """Begins at zero, so that lengths may be compared."""
    ends = [end for row in chart.rows for end in (row.value, row.low, row.high, row.limit or 0.0, 0.0)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    room = (high - low) * 0.04 or 1.0
    scale = Linear(low - room if low < 0 else 0.0, high + room, rows.MARGIN, rows.WIDTH - rows.MARGIN)
    return svg.figure(
        rows.axis(scale, rows=len(chart.rows), caption=chart.axis),
        *(drawn_row(scale, number, row) for number, row in enumerate(chart.rows)),
        width=rows.WIDTH,
        height=rows.height(len(chart.rows)),
        identity=chart.identity,
        title=chart.title,
        description=chart.description,
        class_="intervals",
    )


def drawn_row(scale: Linear, number: int, row: IntervalRow) -> str:
    y = rows.line_y(number)
    begin = scale(0.0)
    return svg.element(
        "g",
        svg.element("title", svg.words(row.hint or f"{row.label}: {row.figures}")),
        rows.heading(number, row.label, row.figures),
        limit_of(scale, y, row.limit) if row.limit is not None else "",
        svg.element(
            "rect",
            x=min(begin, scale(row.value)),
            y=y - 3,
            width=abs(scale(row.value) - begin),
            height=6.0,
            class_="bar",
        ),
        rows.whisker(scale, row=number, low=row.low, high=row.high, class_="plain")
        if row.high > row.low
        else "",
        drawn(Mark.PLAIN, x=scale(row.value), y=y),
        class_="row",
    )


def limit_of(scale: Linear, y: float, limit: float) -> str:
    """A track as long as what is possible, with a bar at its end."""
    begin, end = scale(0.0), scale(limit)
    return svg.element(
        "rect", x=min(begin, end), y=y - 3, width=abs(end - begin), height=6.0, class_="track"
    ) + svg.line(x1=end, y1=y - 7, x2=end, y2=y + 7, class_="limit")
