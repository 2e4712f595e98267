"""The incomplete beta function and what follows from it, against scipy."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.beta import beta_quantile, regularised_beta, student_p, student_quantile
from scipy import special, stats

SHAPES = st.floats(0.5, 500)


@given(a=SHAPES, b=SHAPES, x=st.floats(0, 1))
@settings(derandomize=True, deadline=None)
def test_the_incomplete_beta_function_is_that_of_scipy(a: float, b: float, x: float) -> None:
    """Over four orders of magnitude of its parameters."""
    assert regularised_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), abs=1e-10)


@given(a=SHAPES, b=SHAPES, probability=st.floats(0.001, 0.999))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_its_quantile_is_that_of_scipy(a: float, b: float, probability: float) -> None:
    """Found by bisection."""
    assert beta_quantile(probability, a, b) == pytest.approx(stats.beta.ppf(probability, a, b), abs=1e-9)


@pytest.mark.parametrize("degrees", [1, 2, 3, 7, 30, 500])
def test_student_s_distribution_is_that_of_scipy(degrees: int) -> None:
    """Its quantile and its two-sided p, which undo each other."""
    quantile = student_quantile(0.975, degrees)
    assert quantile == pytest.approx(stats.t.ppf(0.975, degrees), rel=1e-9)
    assert student_p(quantile, degrees) == pytest.approx(0.05, abs=1e-9)
