"""A measurement over time, with the times at which it changed and the level on each side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv_collector.plot import svg
from llmenv_collector.plot.scales import Linear, Time, spanning

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTH, HEIGHT = 360.0, 190.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 352.0, 26.0, 152.0


@dataclass(frozen=True)
class Point:
    """Time in seconds since 1970."""

    time: float
    value: float


@dataclass(frozen=True, kw_only=True)
class Change:
    """Where a series changed."""

    time: float
    label: str
    is_suspected: bool = False


@dataclass(frozen=True, kw_only=True)
class Level:
    """What a series was about, from one time to another."""

    begin: float
    end: float
    value: float


@dataclass(frozen=True, kw_only=True)
class TimeSeries:
    """At least one point; in the order of time."""

    identity: str
    """Of the page's elements that belong to it."""
    title: str
    description: str
    axis: str
    points: tuple[Point, ...]
    changes: tuple[Change, ...] = ()
    levels: tuple[Level, ...] = ()


def render(series: TimeSeries) -> str:
    times = [point.time for point in series.points] + [change.time for change in series.changes]
    across = Time(*spanning(times, margin=0.03), LEFT, RIGHT)
    values = [point.value for point in series.points] + [level.value for level in series.levels]
    up = Linear(*spanning(values, margin=0.12), BOTTOM, TOP)
    return svg.figure(
        *axes(across, up, series.axis),
        *(drawn_change(across, change) for change in series.changes),
        svg.element("path", d=path_of(across, up, series.points), class_="trace"),
        svg.element("path", d=dots_of(across, up, series.points), class_="point"),
        *(
            svg.line(
                x1=across(level.begin),
                y1=up(level.value),
                x2=across(level.end),
                y2=up(level.value),
                class_="level",
            )
            for level in series.levels
        ),
        width=WIDTH,
        height=HEIGHT,
        identity=series.identity,
        title=series.title,
        description=series.description,
        class_="series",
    )


def axes(across: Time, up: Linear, caption: str) -> list[str]:
    drawn = [svg.text(caption, x=4.0, y=13.0, class_="axis-name start")]
    for tick in up.ticks(4):
        y = up(tick.value)
        drawn.append(svg.line(x1=LEFT, y1=y, x2=RIGHT, y2=y, class_="grid"))
        drawn.append(svg.text(tick.label, x=LEFT - 5, y=y + 4, class_="tick end"))
    for tick in across.ticks(3):
        half = svg.width_of(tick.label) / 2
        x = min(max(across(tick.value), half), WIDTH - half)
        drawn.append(svg.text(tick.label, x=x, y=BOTTOM + 20, class_="tick"))
    return drawn


def drawn_change(across: Time, change: Change) -> str:
    x = across(change.time)
    class_ = "change suspected" if change.is_suspected else "change"
    near_end = x > (LEFT + RIGHT) / 2
    return svg.line(x1=x, y1=TOP - 4, x2=x, y2=BOTTOM, class_=class_) + svg.text(
        svg.shortened(change.label, units=(RIGHT - LEFT) / 2),
        x=x - 4 if near_end else x + 4,
        y=TOP + 4,
        class_="change-name end" if near_end else "change-name start",
    )


def path_of(across: Time, up: Linear, points: Sequence[Point]) -> str:
    return "M" + "L".join(
        f"{svg.number(across(point.time))} {svg.number(up(point.value))}" for point in points
    )


def dots_of(across: Time, up: Linear, points: Sequence[Point]) -> str:
    """Strokes without length, whose round ends are discs: a tenth of the bytes of circles."""
    return "".join(f"M{svg.number(across(point.time))} {svg.number(up(point.value))}h0" for point in points)
