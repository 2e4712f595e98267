"""A change of level against what a series sways by itself: the formula, and how often it is wrong."""

from __future__ import annotations

import numpy as np
import pytest
from llmenv_collector.statistics.correlation import (
    autoregressive,
    block_length,
    innovations,
    neighbour_correlation,
)
from llmenv_collector.statistics.self_normalised import (
    PIECE,
    WEIGHT,
    beside_long,
    largest_change,
    level_change_p,
    self_normalised,
)


def drawn(rng: np.random.Generator, length: int, correlation: float) -> np.ndarray:
    return autoregressive(rng.standard_normal(length), correlation)


def test_the_statistic_is_what_its_definition_says() -> None:
    """Term by term, as the two papers write it."""
    ranks = np.random.default_rng(1).permutation(30) + 1.0
    sums, n = np.cumsum(ranks - ranks.mean()), 30
    for k in (2, 11, 28):
        before = sum((sums[t - 1] - t / k * sums[k - 1]) ** 2 for t in range(1, k + 1))
        after = sum((sums[t - 1] - (n - t) / (n - k) * sums[k - 1]) ** 2 for t in range(k + 1, n + 1))
        (found,) = self_normalised(ranks, np.array([k]))
        assert found == pytest.approx(n * sums[k - 1] ** 2 / (before + after))


def test_the_statistic_beside_a_long_side_is_what_its_definition_says() -> None:
    """Term by term, of the pieces that lie before the change; the same from the other end."""
    ranks, n = np.random.default_rng(7).permutation(150) + 1.0, 150
    sums = np.cumsum(ranks - ranks.mean())
    for k in (126, 139, 140):
        swaying = []
        for start in range(0, k - PIECE + 1, PIECE):
            piece = ranks[start : start + PIECE]
            within = np.cumsum(piece - piece.mean())
            swaying.append(6 * np.sum(within**2) / (PIECE**2 - 1))
        (found,) = beside_long(ranks, np.array([k]))
        assert found == pytest.approx(n * sums[k - 1] ** 2 / (k * (n - k) * np.mean(swaying)))
        late = max(WEIGHT * found, float(self_normalised(ranks, np.array([k]))[0]))
        assert largest_change(ranks, np.array([k])) == pytest.approx(late)
        assert largest_change(ranks[::-1], np.array([n - k])) == pytest.approx(late)


def test_sides_of_a_short_series_are_held_against_their_own_sway_alone() -> None:
    """Sixty values have no side that is short beside the other, and too few pieces."""
    ranks, points = np.random.default_rng(8).permutation(60) + 1.0, np.arange(10, 51)
    assert largest_change(ranks, points) == self_normalised(ranks, points).max()


@pytest.mark.parametrize("length", [60, 200])
@pytest.mark.parametrize("correlation", [0.0, 0.3, 0.6])
def test_a_level_that_stays_is_seldom_called_changed(correlation: float, length: int) -> None:
    """In about a twentieth of series, also where the correlation has to be estimated from them."""
    rng, points = np.random.default_rng(2), np.arange(10, length - 9)
    called = 0
    for _ in range(200):
        series = drawn(rng, length, correlation)
        found = neighbour_correlation(series, [int(np.argmax(self_normalised(series, points))) + 10])
        called += level_change_p(series, points, correlation=found, rng=rng, draws=199) <= 0.05
    assert called / 200 <= 0.08


def test_a_change_of_level_is_found_in_spite_of_correlation() -> None:
    """Four standard deviations between thirty runs and thirty, which the correlation makes worth less."""
    rng, points = np.random.default_rng(3), np.arange(10, 51)
    found = 0
    for _ in range(50):
        series = drawn(rng, 60, 0.4) + 4 * (np.arange(60) >= 30)
        found += level_change_p(series, points, correlation=0.4, rng=rng, draws=199) <= 0.05
    assert found >= 48


def test_series_of_few_different_values_have_an_answer() -> None:
    """All equal: nothing changed.  Two levels without any noise: as plain as can be."""
    rng, points = np.random.default_rng(4), np.arange(10, 31)
    step = np.repeat([1.0, 2.0], 20)
    assert level_change_p(np.ones(40), points, correlation=0.0, rng=rng, draws=199) > 0.9
    assert level_change_p(step, points, correlation=0.0, rng=rng, draws=199) == pytest.approx(1 / 200)


def test_how_alike_neighbours_are_is_seen_through_changes_and_losses() -> None:
    """Neither a change whose place is known nor a few large losses say much of the correlation."""
    rng = np.random.default_rng(5)
    for correlation in (0.0, 0.3, 0.6):
        plain, changed, lossy = [], [], []
        for _ in range(40):
            series = drawn(rng, 200, correlation)
            plain.append(neighbour_correlation(series, [100]))
            changed.append(neighbour_correlation(series + 9 * (np.arange(200) >= 100), [100]))
            lossy.append(neighbour_correlation(series - 20 * (rng.random(200) < 0.02), [100]))
        assert changed == pytest.approx(plain)
        assert np.mean(plain) == pytest.approx(correlation, abs=0.06)
        assert np.mean(lossy) == pytest.approx(np.mean(plain), abs=0.06)


def test_innovations_make_their_series_again() -> None:
    """Exactly, and for no correlation they are the series."""
    series = np.random.default_rng(6).normal(0, 1, 30)
    assert autoregressive(innovations(series, 0.7), 0.7) == pytest.approx(series)
    assert innovations(series, 0.0).tolist() == series.tolist()


def test_blocks_are_longer_the_more_alike_neighbours_are() -> None:
    """At least one value, and at most an eighth of the series."""
    assert [block_length(r, 200) for r in (0.0, 0.3, 0.6, 0.9)] == [1, 9, 18, 25]
