"""Labels exchanged within strata, against scipy and against what is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.permutation import stratified_permutation_p
from scipy import stats

# Three strata of these have 8,000 arrangements at most, and all are enumerated: what is drawn differs between
# strata that are the same.
SIDE = st.lists(st.floats(0.1, 100), min_size=1, max_size=3)
STRATA = st.lists(st.tuples(SIDE, SIDE), min_size=1, max_size=3)


def seeded() -> np.random.Generator:
    return np.random.default_rng(11)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_it_is_scipy_s_exact_test_of_one_stratum(statistic: str) -> None:
    """Of the absolute difference, where all arrangements are enumerated."""
    middle = getattr(np, statistic)
    for seed in range(4):
        rng = np.random.default_rng(seed)
        one, other = rng.lognormal(0, 1, 5), rng.lognormal(0.5, 1, 6)
        expected = stats.permutation_test(
            (np.log(one), np.log(other)),
            lambda x, y, axis: np.abs(middle(x, axis=axis) - middle(y, axis=axis)),
            vectorized=True,
            n_resamples=10_000,
            alternative="greater",
        ).pvalue
        assert stratified_permutation_p([(one, other)], rng=seeded(), statistic=statistic) == pytest.approx(
            expected, abs=1e-6
        )


@given(STRATA, st.floats(0.01, 100))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_neither_side_nor_order_nor_unit_matters(
    strata: list[tuple[list[float], list[float]]], unit: float
) -> None:
    """Swapped sides, another order and a unit a stratum leave p as it is."""
    p_value = stratified_permutation_p(strata, rng=seeded())
    swapped = [(b, a) for a, b in strata]
    turned = [(a[::-1], b[::-1]) for a, b in reversed(strata)]
    scaled = [([x * unit**i for x in a], [x * unit**i for x in b]) for i, (a, b) in enumerate(strata)]
    for other in (swapped, turned, scaled):
        assert stratified_permutation_p(other, rng=seeded()) == pytest.approx(p_value, abs=1e-9)


def test_swapped_sides_draw_the_same_p() -> None:
    """Where arrangements are drawn as well."""
    rng = np.random.default_rng(2)
    strata = [
        (rng.lognormal(0, 1, 12), rng.lognormal(0.4, 1, 15)),
        (rng.lognormal(3, 1, 9), rng.lognormal(3, 1, 9)),
    ]
    swapped = [(b, a) for a, b in strata]
    assert stratified_permutation_p(strata, rng=seeded()) == stratified_permutation_p(swapped, rng=seeded())


def test_a_small_p_is_refined() -> None:
    """Far below what the first permutations could tell, and not where it is large."""
    rng = np.random.default_rng(3)
    apart = [(rng.lognormal(0, 0.02, 20), rng.lognormal(0.2, 0.02, 20))]
    assert stratified_permutation_p(apart, rng=seeded()) == pytest.approx(1 / 50_000)
    assert stratified_permutation_p(apart, rng=seeded(), refine_below=0.0) == pytest.approx(1 / 2_000)


def test_it_keeps_its_level() -> None:
    """300 comparisons of what does not differ are called different in about 5 %."""
    rng = np.random.default_rng(4)
    p_values = [
        stratified_permutation_p(
            [
                (rng.lognormal(0, 0.1, 9), rng.lognormal(0, 0.1, 9)),
                (rng.lognormal(2, 0.1, 4), rng.lognormal(2, 0.1, 7)),
            ],
            rng=rng,
            permutations=199,
            refined=999,
        )
        for _ in range(300)
    ]
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.025)


def test_chips_are_not_pooled() -> None:
    """Sides that differ only because more of one's machines are of the fast chip do not differ."""
    rng = np.random.default_rng(5)
    slow, fast = rng.lognormal(0, 0.02, 12), rng.lognormal(1, 0.02, 12)
    assert stratified_permutation_p([(slow[:9], slow[9:]), (fast[:3], fast[3:])], rng=seeded()) > 0.05


def test_what_lacks_a_side_says_nothing() -> None:
    """And none left is no evidence; what has no logarithm is refused."""
    assert stratified_permutation_p([([1.0], []), ([], [2.0])], rng=seeded()) == 1.0
    with pytest.raises(ValueError, match="logarithm"):
        stratified_permutation_p([([0.0], [1.0])], rng=seeded())
