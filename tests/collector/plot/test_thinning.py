"""A long series is drawn with fewer points, and nothing that stands out is lost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as some
from llmenv_collector.plot.thinning import thinned
from llmenv_collector.plot.time_series import Point

MOST = 40
VALUES = some.lists(some.floats(-1e6, 1e6), min_size=1, max_size=400)


def series(values: list[float]) -> list[Point]:
    return [Point(float(time), value) for time, value in enumerate(values)]


def test_a_short_series_is_whole() -> None:
    """Nothing is gained by leaving something out."""
    points = series([1.0] * MOST)
    assert thinned(points, most=MOST) == tuple(points)


@given(VALUES, some.floats(-10, 500))
def test_ends_extremes_and_both_sides_of_a_change_stay(values: list[float], changed_at: float) -> None:
    """In the order of time, as they were measured, and never more than was allowed."""
    points = series(values)
    kept = thinned(points, most=MOST, around=[changed_at])
    assert set(kept) <= set(points)
    assert [point.time for point in kept] == sorted({point.time for point in kept})
    assert len(kept) <= MOST + 2
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert {min(values), max(values)} <= {point.value for point in kept}
    before = [point for point in points if point.time < changed_at]
    after = [point for point in points if point.time >= changed_at]
    assert set(before[-1:]) | set(after[:1]) <= set(kept)


def test_a_single_outlier_is_seen() -> None:
    """One slow run in a year."""
    values = [100.0] * 5_000
    values[3_217] = 42.0
    assert Point(3217.0, 42.0) in thinned(series(values), most=200)
