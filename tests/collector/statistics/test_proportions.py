"""Shares, against scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.proportions import clopper_pearson, fisher_exact_p, stratified_exact_p
from scipy import stats

COUNT = st.integers(0, 40)
TABLE = st.tuples(COUNT, COUNT, COUNT, COUNT).map(lambda cells: np.array(cells).reshape(2, 2))


@given(TABLE)
@settings(derandomize=True, deadline=None)
def test_it_is_scipy_s_exact_test(table: np.ndarray) -> None:
    """Also with empty rows and columns."""
    assert fisher_exact_p(table) == pytest.approx(stats.fisher_exact(table).pvalue, abs=1e-6)


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.floats(0.5, 0.999))
@settings(derandomize=True, deadline=None, max_examples=50)
def test_it_is_scipy_s_exact_interval(share: tuple[int, int], confidence: float) -> None:
    """Also with none and all."""
    expected = stats.binomtest(*share).proportion_ci(confidence, method="exact")
    estimate = clopper_pearson(*share, confidence)
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, expected.high), abs=1e-6)
    assert estimate.low <= estimate.value <= estimate.high


@given(st.lists(TABLE, min_size=1, max_size=3))
@settings(derandomize=True, deadline=None, max_examples=40)
def test_neither_order_nor_side_matters(tables: list[np.ndarray]) -> None:
    """Of strata, of rows and of columns."""
    p_value = stratified_exact_p(tables)
    for other in (tables[::-1], [table[::-1] for table in tables], [table[:, ::-1] for table in tables]):
        assert stratified_exact_p(other) == pytest.approx(p_value, abs=1e-9)


def test_strata_are_convolved_as_an_enumeration_says() -> None:
    """Every combination of first cells, with its hypergeometric probability."""
    tables = [np.array([[3, 2], [1, 6]]), np.array([[4, 1], [2, 5]])]
    laws = [stats.hypergeom(table.sum(), table[0].sum(), table[:, 0].sum()) for table in tables]
    totals: dict[int, float] = {}
    for cells in itertools.product(range(10), repeat=2):
        chance = np.prod([law.pmf(cell) for law, cell in zip(laws, cells, strict=True)])
        totals[sum(cells)] = totals.get(sum(cells), 0.0) + chance
    expected = sum(chance for chance in totals.values() if chance <= totals[7] * (1 + 1e-7))
    assert stratified_exact_p(tables) == pytest.approx(expected, abs=1e-9)


def test_chips_are_not_pooled() -> None:
    """A version used mostly on the chip that fails more does not thereby fail more."""
    tables = [np.array([[10, 10], [2, 2]]), np.array([[1, 9], [4, 36]])]
    assert stratified_exact_p(tables) > 0.5
    assert fisher_exact_p(sum(tables)) < 0.05


@pytest.mark.parametrize("table", [[[1, 2]], [[1, -1], [1, 1]], [[0.5, 1], [1, 1]]])
def test_what_is_no_table_is_refused(table: list[list[float]]) -> None:
    """Two rows of two counts, and a share of something."""
    with pytest.raises(ValueError, match="two counts"):
        fisher_exact_p(table)
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(0, 0)
