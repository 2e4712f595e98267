"""Since when a series is different: planted changes, series without, and apache-otava on the same values."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.change_points import Search, change_points, suspicions, update
from llmenv_collector.statistics.energy import distances_to_earlier, divergences, strongest, strongest_p

OTAVA = Path(__file__).parents[3] / ".venv-otava/bin/python"
ASK_OTAVA = """
import json, sys
from otava.analysis import compute_change_points
found = [compute_change_points(series)[0] for series in json.load(sys.stdin)]
print(json.dumps([[int(point.index) for point in points] for points in found]))
"""


def noise(rng: np.random.Generator, length: int, *, correlation: float = 0.0) -> np.ndarray:
    """Of standard deviation 1, autoregressive."""
    values = rng.normal(0, np.sqrt(1 - correlation**2), length + 50)
    for index in range(1, len(values)):
        values[index] += correlation * values[index - 1]
    return values[50:]


def levels(*parts: tuple[float, int]) -> np.ndarray:
    return np.concatenate([np.full(length, level) for level, length in parts])


def indexes(values: np.ndarray, seed: int = 1) -> list[int]:
    return [point.index for point in change_points(values, rng=np.random.default_rng(seed))]


@pytest.mark.parametrize("length", [20, 128, 129, 300])
def test_the_statistic_is_what_its_definition_says(length: int) -> None:
    """Pair by pair, also where a long series is cut into pieces."""
    series = np.random.default_rng(length).normal(0, 1, (2, length)).round(1)
    distances = np.abs(series[:, :, None] - series[:, None, :])
    assert distances_to_earlier(series) == pytest.approx((distances * np.tri(length, k=-1)).sum(-1))
    points = np.array([2, length // 3, length - 2])
    for point, found in zip(points, divergences(series[0], points), strict=True):
        n, m, table = point, length - point, distances[0]
        within = table[:point, :point].sum() / n / (n - 1) + table[point:, point:].sum() / m / (m - 1)
        assert found == pytest.approx(n * m / length * (2 * table[:point, point:].mean() - within))


@pytest.mark.parametrize(("shift", "within"), [(0.10, 1), (0.05, 3)])
def test_a_change_is_found_where_it_is(shift: float, within: int) -> None:
    """In 95 % of series of sixty runs with a CV of 2 %, changed in their middle."""
    rng = np.random.default_rng(41)
    near = 0
    for seed in range(100):
        values = rng.normal(1, 0.02, 60) * np.where(np.arange(60) < 30, 1, 1 + shift)
        near += any(abs(index - 30) <= within for index in indexes(values, seed))
    assert near >= 95


def test_several_changes_are_found_also_where_they_undo_each_other() -> None:
    """A bump, a staircase and a square wave; each point within two of where it was planted."""
    rng = np.random.default_rng(42)
    for planted in (
        levels((0, 30), (5, 30), (0, 30)),
        levels((0, 20), (4, 20), (8, 20)),
        levels((0, 25), (5, 25), (0, 25), (5, 25)),
    ):
        expected = np.flatnonzero(np.diff(planted)) + 1
        found = indexes(planted + noise(rng, len(planted)))
        assert len(found) == len(expected)
        assert np.abs(np.array(found) - expected).max() <= 2


def test_a_drop_after_a_long_history_is_confirmed_by_the_tenth_run() -> None:
    """10 % at a CV of 2 %, after 360 runs: within 1 run, in every one of five series."""
    rng = np.random.default_rng(50)
    for seed in range(5):
        values = rng.normal(1, 0.02, 370) * np.where(np.arange(370) < 360, 1, 0.9)
        assert any(abs(index - 360) <= 1 for index in indexes(values, seed))


@pytest.mark.parametrize("length", [41, 59, 60, 79])
def test_the_newest_values_lie_in_a_window(length: int) -> None:
    """Also where the length is no whole number of windows: a change fifteen runs before the end is seen."""
    values = levels((0, length - 15), (8, 15)) + noise(np.random.default_rng(49), length)
    found = Search(np.random.default_rng(1), 10, 0.05, 199).split_in_windows(values)
    assert found is not None
    assert abs(found[0] - (length - 15)) <= 1


@pytest.mark.parametrize(("correlation", "most"), [(0.0, 0.05), (0.3, 0.06), (0.6, 0.08)])
def test_a_series_without_change_seldom_shows_one(correlation: float, most: float) -> None:
    """At most so many of 150 series of sixty runs; the level is 5 %."""
    rng = np.random.default_rng(43)
    shown = [bool(indexes(noise(rng, 60, correlation=correlation), seed)) for seed in range(150)]
    assert np.mean(shown) <= most


def test_a_slow_part_under_noise_and_losses_seldom_shows_a_change() -> None:
    """Neighbours that are alike beneath what each run adds, and now and then a run a tenth slower."""
    rng = np.random.default_rng(46)
    shown = []
    for seed in range(100):
        losses = np.where(rng.random(60) < 0.03, 8.0, 0.0)
        values = noise(rng, 60, correlation=0.6) + rng.normal(0, 0.7, 60) - losses
        shown.append(bool(indexes(values, seed)))
    assert np.mean(shown) <= 0.08


def test_what_neighbours_have_in_common_is_no_change() -> None:
    """The more alike they are, the larger the p of the same statistic."""
    values = noise(np.random.default_rng(44), 60, correlation=0.6)
    points = np.arange(10, 51)
    point, observed = strongest(values, points)
    p_values = [
        strongest_p(
            values,
            points,
            point=point,
            observed=observed,
            correlation=correlation,
            rng=np.random.default_rng(1),
            permutations=999,
        )
        for correlation in (0.0, 0.6)
    ]
    assert p_values[1] > 2 * p_values[0]


@given(st.floats(0.01, 1000), st.floats(-1000, 1000), st.integers(0, 50))
@settings(derandomize=True, deadline=None, max_examples=15)
def test_neither_unit_nor_direction_matters(unit: float, offset: float, seed: int) -> None:
    """Scaled, moved and turned upside down, a series changes at the same places with the same p."""
    values = np.random.default_rng(seed).normal(0, 1, 50).round(3) + levels((0, 25), (2, 25))
    points = change_points(values, rng=np.random.default_rng(1))
    for other in (values * unit, values + offset, -values):
        again = change_points(other, rng=np.random.default_rng(1))
        assert [(point.index, point.p_value) for point in again] == [
            (point.index, point.p_value) for point in points
        ]


def test_what_is_found_is_described() -> None:
    """By the medians of the parts beside it, and by a p that permutations can give."""
    (point,) = change_points(
        levels((10, 20), (12, 20)) + np.tile([0.1, -0.1], 20), rng=np.random.default_rng(1)
    )
    assert (point.index, point.before, point.after) == (
        20,
        pytest.approx(10, abs=0.1),
        pytest.approx(12, abs=0.1),
    )
    assert point.p_value <= 0.05


def test_a_change_too_young_to_be_confirmed_is_suspected() -> None:
    """From three values on, with their number; it is no change point yet, and no change is no suspicion."""
    rng = np.random.default_rng(45)
    for points in range(3, 10):
        values = noise(rng, 40 + points) + levels((0, 40), (8, points))
        (suspected,) = suspicions(values, rng=np.random.default_rng(1))
        assert (suspected.index, suspected.points) == (40, points)
        assert indexes(values) == []
    assert suspicions(noise(rng, 42) + levels((0, 40), (8, 2)), rng=np.random.default_rng(1)) == []
    quiet = [bool(suspicions(noise(rng, 40), rng=np.random.default_rng(seed))) for seed in range(100)]
    assert np.mean(quiet) <= 0.1


def test_upkeep_keeps_what_is_confirmed_and_searches_the_rest() -> None:
    """A series that grows through two changes ends with the points of a whole search."""
    values = levels((0, 30), (6, 30), (2, 30)) + noise(np.random.default_rng(48), 90)
    points = update([], values[:45], rng=np.random.default_rng(1))
    assert [point.index for point in points] == [30]
    grown = update(points, values[:75], rng=np.random.default_rng(1))
    assert [point.index for point in grown] == indexes(values) == [30, 60]
    assert grown[0].p_value == points[0].p_value
    assert update(grown, values, rng=np.random.default_rng(1))[1].after == pytest.approx(2, abs=0.5)
    with pytest.raises(ValueError, match="shorter"):
        update(grown, values[:50], rng=np.random.default_rng(1))


def test_what_cannot_be_searched_is_refused_and_what_is_short_is_unchanged() -> None:
    """A level that no permutation reaches, sides of one value, and values that are no numbers."""
    rng = np.random.default_rng(1)
    assert (
        change_points([], rng=rng)
        == change_points([1.0] * 19, rng=rng)
        == change_points([1.0] * 50, rng=rng)
        == []
    )
    assert suspicions([], rng=rng) == []
    for refused in ({"level": 0.001}, {"min_points": 1}):
        with pytest.raises(ValueError, match=r"level|two values"):
            change_points([1.0] * 30, rng=rng, **refused)
    with pytest.raises(ValueError, match="finite"):
        change_points([float("nan")], rng=rng)


def test_otava_finds_the_same_changes() -> None:
    """Within one point, on series of one to three changes of five standard deviations."""
    if not OTAVA.exists():
        pytest.skip(
            "apache-otava has an environment of its own, which `make test` builds: there is none here"
        )
    rng = np.random.default_rng(47)
    planted = [
        levels((100, 30), (110, 30)),
        levels((100, 25), (90, 25), (101, 25)),
        levels((100, 40), (110, 20), (120, 30), (108, 30)),
    ] * 3
    series = [(each + 2 * noise(rng, len(each))).tolist() for each in planted]
    answer = subprocess.run(
        [OTAVA, "-c", ASK_OTAVA], input=json.dumps(series), capture_output=True, text=True, check=True
    )
    for values, theirs in zip(series, json.loads(answer.stdout), strict=True):
        ours = indexes(np.array(values))
        assert len(ours) == len(theirs)
        assert np.abs(np.array(ours) - np.array(theirs)).max() <= 1
