"""Charts are well-formed, named, finite and within their frame, whatever is measured and whoever it is of."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llmenv_collector.plot import forest, intervals, matrix, svg, time_series
from llmenv_collector.plot.marks import Mark
from llmenv_collector.plot.scales import Log

from .drawing import parsed, places, require_sound

STEADY = settings(deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
NAMES = st.text(max_size=40) | st.sampled_from(
    [
        "</text><script>alert(1)</script>",
        "a\x00b\x1b[31m",
        "quote \" and ' and &amp;",
        "机房-东-07",
        "\ud800",
        "x" * 900,
    ]
)
VALUES = st.floats(-1e12, 1e12)
RATIOS = st.floats(1e-4, 1e4)


@st.composite
def interval_rows(draw: st.DrawFn) -> intervals.IntervalRow:
    low, value, high = sorted(draw(st.tuples(VALUES, VALUES, VALUES)))
    return intervals.IntervalRow(
        label=draw(NAMES),
        figures=draw(NAMES),
        value=value,
        low=low,
        high=high,
        limit=draw(st.none() | VALUES),
        hint=draw(NAMES),
    )


@st.composite
def forest_rows(draw: st.DrawFn) -> forest.ForestRow:
    low, ratio, high = sorted(draw(st.tuples(RATIOS, RATIOS, RATIOS)))
    mark = draw(st.sampled_from(Mark))
    return forest.ForestRow(
        label=draw(NAMES), figures=draw(NAMES), ratio=ratio, low=low, high=high, mark=mark, hint=draw(NAMES)
    )


@STEADY
@given(name=NAMES, rows=st.lists(interval_rows(), max_size=6))
def test_an_interval_chart_is_sound(name: str, rows: list[intervals.IntervalRow]) -> None:
    """A row for each, in the order given."""
    chart = intervals.IntervalChart(
        identity="chip-0", title=name, description=name, axis=name, rows=tuple(rows)
    )
    drawing = require_sound(intervals.render(chart))
    assert len([one for one in drawing.iter("g") if one.attrib["class"] == "row"]) == len(rows)


@STEADY
@given(name=NAMES, rows=st.lists(forest_rows(), max_size=6), minimum=st.floats(0.001, 0.5))
def test_a_forest_plot_is_sound(name: str, rows: list[forest.ForestRow], minimum: float) -> None:
    """A row for each, also with an interval that goes on beyond the plot."""
    plot = forest.ForestPlot(
        identity="effect-0", title=name, description=name, axis=name, minimum_effect=minimum, rows=tuple(rows)
    )
    drawing = require_sound(forest.render(plot))
    assert len([one for one in drawing.iter("g") if one.attrib["class"].startswith("row ")]) == len(rows)


@STEADY
@given(data=st.data())
def test_a_time_series_is_sound(data: st.DataObject) -> None:
    """A point for each, however few and however equal."""
    point = st.builds(time_series.Point, st.floats(0, 4e9), VALUES)
    points = sorted(data.draw(st.lists(point, min_size=1, max_size=12)), key=lambda one: one.time)
    changes = [
        time_series.Change(time=one.time, label=data.draw(NAMES), is_suspected=data.draw(st.booleans()))
        for one in points[1:2]
    ]
    level = time_series.Level(begin=points[0].time, end=points[-1].time, value=points[0].value)
    series = time_series.TimeSeries(
        identity="change-0",
        title=data.draw(NAMES),
        description=data.draw(NAMES),
        axis=data.draw(NAMES),
        points=tuple(points),
        changes=tuple(changes),
        levels=(level,),
    )
    drawing = require_sound(time_series.render(series))
    dots = next(one for one in drawing.iter("path") if one.attrib["class"] == "point")
    assert len(list(places(dots))) == len(points)


VERDICTS = {
    "pass": matrix.Verdict(class_="v-pass", letter="✓", name="pass"),
    "fail": matrix.Verdict(class_="v-fail", letter="✗", name="fail"),
}


@STEADY
@given(columns=st.lists(NAMES, max_size=8), labels=st.lists(NAMES, max_size=8), data=st.data())
def test_a_matrix_is_sound(columns: list[str], labels: list[str], data: st.DataObject) -> None:
    """A cell and a letter for each verdict, and no two cells in one place."""
    words = st.sampled_from(sorted(VERDICTS))
    rows = tuple(
        matrix.MatrixRow(label=label, cells=tuple(data.draw(words) for _ in columns)) for label in labels
    )
    drawn = matrix.Matrix(
        identity="m", title="t", description="d", columns=tuple(columns), rows=rows, verdicts=VERDICTS
    )
    drawing = require_sound(matrix.render(drawn))
    cells = [one for one in drawing.iter("path") if one.attrib["class"].startswith("cell")]
    corners = [place for cell in cells for place in places(cell)]
    assert len(corners) == len(set(corners)) == len(columns) * len(labels)
    letters = [one for one in drawing.iter("text") if one.attrib["class"].startswith("letter")]
    assert sum(len(one.text or "") for one in letters) == len(corners)


def test_a_name_cannot_become_markup() -> None:
    """What an agent calls itself stays text."""
    said = svg.text("</text><script>alert(1)</script>", x=1, y=2, class_="label")
    assert parsed(said).text == "</text><script>alert(1)</script>"
    assert "<script>" not in said


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_never_drawn(value: float) -> None:
    """Better no chart than one that lies."""
    with pytest.raises(ValueError, match="is no coordinate"):
        svg.number(value)


def test_a_row_of_a_forest_is_drawn_where_its_ratio_is() -> None:
    """The line at 1 is in the middle, a ratio of less than 1 left of it."""
    row = forest.ForestRow(label="a", figures="-10 %", ratio=0.9, low=0.88, high=0.92, mark=Mark.SAME)
    plot = forest.ForestPlot(
        identity="e", title="t", description="d", axis="x", minimum_effect=0.03, rows=(row,)
    )
    drawing = parsed(forest.render(plot))
    line = next(one for one in drawing.iter("path") if one.attrib["class"] == "no-effect")
    mark = next(one for one in drawing.iter("rect") if one.attrib["class"] == "mark same")
    assert next(places(line))[0] == 180.0
    assert float(mark.attrib["x"]) + 4 < 180.0


def test_a_ratio_and_its_inverse_are_as_far_from_one() -> None:
    """A fifth faster and a fifth slower look alike."""
    scale = Log(0.5, 2.0, 0.0, 100.0)
    assert math.isclose(50 - scale(1 / 1.2), scale(1.2) - 50)


@pytest.mark.parametrize(
    ("said", "units", "expected"), [("short", 90.0, "short"), ("x" * 20, 70.0, "x" * 9 + "…")]
)
def test_a_label_that_is_too_long_ends_in_an_ellipsis(said: str, units: float, expected: str) -> None:
    """It never runs into the figures beside it."""
    assert svg.shortened(said, units=units) == expected


def test_shapes_differ_where_colours_do() -> None:
    """Who sees no colours tells better from worse."""
    from llmenv_collector.plot.marks import drawn

    shapes = {drawn(mark, x=10.0, y=10.0).replace(mark.value, "") for mark in Mark if mark is not Mark.PLAIN}
    assert len(shapes) == 4


def test_one_wide_interval_does_not_flatten_the_others() -> None:
    """It ends in an arrow at the plot's edge; the narrow one keeps its width."""
    narrow = forest.ForestRow(label="a", figures="", ratio=0.93, low=0.91, high=0.95, mark=Mark.WORSE)
    wide = forest.ForestRow(label="b", figures="", ratio=0.97, low=0.3, high=3.0, mark=Mark.INCONCLUSIVE)
    plot = forest.ForestPlot(
        identity="e", title="t", description="d", axis="x", minimum_effect=0.03, rows=(narrow, wide)
    )
    drawing = require_sound(forest.render(plot))
    assert len([one for one in drawing.iter("path") if one.attrib["class"] == "beyond"]) == 2
    whisker = next(one for one in drawing.iter("path") if one.attrib["class"] == "whisker worse")
    across = [x for x, _ in places(whisker)]
    assert max(across) - min(across) > 30
