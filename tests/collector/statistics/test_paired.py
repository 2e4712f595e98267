"""Tests on pairs, against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.paired import sign_flip_p, signed_rank_p
from scipy import stats

DIFFERENCES = st.lists(st.floats(-100, 100).map(lambda value: round(value, 3)), min_size=1, max_size=70)


@pytest.mark.parametrize("n", [1, 2, 5, 13, 20, 50])
def test_it_is_scipy_s_exact_test_without_ties(n: int) -> None:
    """Up to fifty differences."""
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.3, 1, n)
        assert signed_rank_p(differences) == pytest.approx(
            stats.wilcoxon(differences, method="exact").pvalue, abs=1e-9
        )


def test_it_is_exact_with_ties_and_zeros() -> None:
    """As scipy's enumeration of all signs of the ranks at hand."""
    for seed in range(8):
        differences = np.random.default_rng(seed).integers(-3, 5, 10).astype(float)
        method = stats.PermutationMethod(n_resamples=10_000)
        expected = stats.wilcoxon(differences, zero_method="wilcox", method=method).pvalue
        assert signed_rank_p(differences) == pytest.approx(expected, abs=1e-6)


def test_it_is_scipy_s_approximation_for_many() -> None:
    """With the correction for ties and zeros left out, without correction for continuity."""
    for seed in range(5):
        differences = np.random.default_rng(seed).normal(0.1, 1, 120).round(1)
        expected = stats.wilcoxon(differences, zero_method="wilcox", method="asymptotic").pvalue
        assert signed_rank_p(differences) == pytest.approx(expected, abs=1e-6)


@given(DIFFERENCES)
@settings(derandomize=True, deadline=None, max_examples=50)
def test_neither_direction_nor_order_nor_unit_matters(differences: list[float]) -> None:
    """Of both tests, the one that draws as well."""
    values = np.array(differences)
    for other in (-values, values[::-1], values * 1024):
        assert signed_rank_p(other) == pytest.approx(signed_rank_p(values), rel=1e-9)
        drawn = [sign_flip_p(each, rng=np.random.default_rng(1), permutations=99) for each in (values, other)]
        assert drawn[0] == drawn[1]


def test_flipped_signs_are_scipy_s_when_enumerated() -> None:
    """As its permutation test of the mean of pairs."""
    differences = np.random.default_rng(3).normal(0.4, 1, 11)
    expected = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=10_000, vectorized=True
    ).pvalue
    assert sign_flip_p(differences, rng=np.random.default_rng(1)) == pytest.approx(expected, abs=1e-6)


def test_drawn_signs_come_near_the_exact_p() -> None:
    """Within what 20,000 draws leave to chance."""
    differences = np.random.default_rng(3).normal(0.3, 1, 16)
    exact = stats.permutation_test(
        (differences,),
        np.mean,
        permutation_type="samples",
        n_resamples=2_000_000,
        vectorized=True,
        batch=2**14,
    ).pvalue
    drawn = sign_flip_p(differences, rng=np.random.default_rng(1), permutations=20_000)
    assert drawn == pytest.approx(exact, abs=0.015)


def test_no_difference_is_no_evidence() -> None:
    """Zeros alone give 1; no pair at all is refused by the test of means."""
    assert signed_rank_p([0.0, 0.0]) == 1.0
    assert signed_rank_p([]) == 1.0
    assert sign_flip_p([0.0, 0.0], rng=np.random.default_rng(1)) == 1.0
    with pytest.raises(ValueError, match="needs"):
        sign_flip_p([], rng=np.random.default_rng(1))
    with pytest.raises(ValueError, match="finite"):
        signed_rank_p([float("nan")])
