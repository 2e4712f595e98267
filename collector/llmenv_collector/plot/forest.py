"""A forest plot: ratios with their intervals, a line at 1, and the band of what is too small to matter."""

from __future__ import annotations

import math
from dataclasses import dataclass

from llmenv_collector.plot import rows, svg
from llmenv_collector.plot.marks import Mark, drawn
from llmenv_collector.plot.scales import Log, spanning_ratios


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One effect.  The ratio and its ends are above 0."""

    label: str
    figures: str
    """The same in words, at the right."""
    ratio: float
    low: float
    high: float
    mark: Mark
    hint: str = ""
    """More, for whoever points at it."""


@dataclass(frozen=True, kw_only=True)
class ForestPlot:
    """Rows in the order given."""

    identity: str
    """Of the page's elements that belong to it."""
    title: str
    description: str
    axis: str
    minimum_effect: float
    """As a share, such as 0.03."""
    rows: tuple[ForestRow, ...]


FARTHEST = 4.0
LEAST_REACH = 1.15


def reach_of(plot: ForestPlot) -> float:
    """The largest ratio of the scale: twice as far as any effect, so that one wide interval does not flatten
    the others; what goes on beyond is drawn there with an arrow.
    """
    effects = [abs(math.log(row.ratio)) for row in plot.rows]
    reach = min(max(2 * max(effects, default=0.0), math.log(LEAST_REACH)), math.log(FARTHEST))
    ends = [abs(math.log(end)) for row in plot.rows for end in (row.low, row.high)]
    return math.exp(max(min(reach, max(ends, default=0.0)), math.log1p(plot.minimum_effect)))


def render(plot: ForestPlot) -> str:
    low, high = spanning_ratios([reach_of(plot)])
    scale = Log(low, high, rows.MARGIN, rows.WIDTH - rows.MARGIN)
    return svg.figure(
        band(scale, plot),
        rows.axis(scale, rows=len(plot.rows), caption=plot.axis),
        svg.line(
            x1=scale(1.0), y1=rows.TOP, x2=scale(1.0), y2=rows.bottom(len(plot.rows)), class_="no-effect"
        ),
        *(drawn_row(scale, number, row) for number, row in enumerate(plot.rows)),
        width=rows.WIDTH,
        height=rows.height(len(plot.rows)),
        identity=plot.identity,
        title=plot.title,
        description=plot.description,
        class_="forest",
    )


def band(scale: Log, plot: ForestPlot) -> str:
    left, right = scale(1 / (1 + plot.minimum_effect)), scale(1 + plot.minimum_effect)
    bottom = rows.bottom(len(plot.rows))
    return svg.element(
        "rect", x=left, y=rows.TOP, width=right - left, height=bottom - rows.TOP, class_="band"
    )


def drawn_row(scale: Log, number: int, row: ForestRow) -> str:
    y = rows.line_y(number)
    return svg.element(
        "g",
        svg.element("title", svg.words(row.hint or f"{row.label}: {row.figures}")),
        rows.heading(number, row.label, row.figures),
        rows.whisker(scale, row=number, low=row.low, high=row.high, class_=row.mark.value),
        arrow(scale.begin, y, towards=-1) if row.low < scale.low else "",
        arrow(scale.end, y, towards=1) if row.high > scale.high else "",
        drawn(row.mark, x=scale(row.ratio), y=y),
        class_=f"row {row.mark.value}",
    )


def arrow(x: float, y: float, *, towards: int) -> str:
    """The interval goes on beyond the plot."""
    tip, back = x + towards * 4, x - towards * 3
    return svg.polygon([(tip, y), (back, y - 4), (back, y + 4)], class_="beyond")
