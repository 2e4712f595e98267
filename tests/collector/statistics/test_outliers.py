"""Which machine differs from the others."""

from __future__ import annotations

import numpy as np
import pytest
from llmenv_collector.statistics.outliers import outliers

COHORT = 8
NOISE = 0.02


def cohort(
    rng: np.random.Generator, *shifts: float, machines: int = COHORT, runs: int = 6
) -> list[np.ndarray]:
    values = [100 * np.exp(rng.normal(0, NOISE, runs)) for _ in range(machines)]
    for index, shift in enumerate(shifts):
        values[index] *= 1 + shift
    return values


@pytest.mark.parametrize("shift", [0.08, -0.08])
def test_eight_percent_in_a_cohort_of_eight_are_found(shift: float) -> None:
    """In at least 90 % of cohorts whose machines did six runs each with a CV of 2 %."""
    rng = np.random.default_rng(21)
    found = [0 in {each.index for each in outliers(cohort(rng, shift))} for _ in range(300)]
    assert np.mean(found) >= 0.90


@pytest.mark.parametrize("machines", [5, 6, 8, 12])
def test_a_cohort_without_outlier_seldom_shows_one(machines: int) -> None:
    """In at most about 5 % of cohorts of one value a machine, however small the deviation that counts."""
    rng = np.random.default_rng(22)
    shown = [bool(outliers(cohort(rng, machines=machines, runs=1), minimum_effect=0.0)) for _ in range(600)]
    assert np.mean(shown) <= 0.07


def test_two_outliers_do_not_hide_each_other() -> None:
    """Both are found, the more extreme first."""
    rng = np.random.default_rng(23)
    assert [each.index for each in outliers(cohort(rng, 0.2, 0.4, runs=20))] == [1, 0]


def test_what_is_found_is_described() -> None:
    """The ratio is to the others' median, and direction and unit carry over."""
    values = cohort(np.random.default_rng(24), -0.11)
    (found,) = outliers(values)
    assert found.ratio == pytest.approx(0.89, abs=0.02)
    assert found.z < -3
    assert found.p_value < 0.05
    (scaled,) = outliers([machine * 7 for machine in values])
    (turned,) = outliers([1 / machine for machine in values[::-1]])
    assert (scaled.ratio, scaled.p_value) == pytest.approx((found.ratio, found.p_value))
    assert turned.index == COHORT - 1
    assert (turned.ratio, turned.p_value) == pytest.approx((1 / found.ratio, found.p_value))


def test_a_machine_with_a_single_run_is_allowed_its_noise() -> None:
    """What would be an outlier after twenty runs is none after one."""
    values = cohort(np.random.default_rng(25), runs=20)
    values[0] = np.full(20, 104.0)
    assert [each.index for each in outliers(values)] == [0]
    assert outliers([values[0][:1], *values[1:]]) == []


def test_too_few_others_show_none() -> None:
    """Four are the fewest; and a difference too small to matter is none."""
    assert outliers([100.0, 100.1, 99.9, 200.0]) == []
    assert [each.index for each in outliers([100.0, 100.1, 99.9, 100.05, 200.0])] == [4]
    assert outliers([100.0, 100.0001, 99.9999, 100.00005, 101.0]) == []
    assert outliers([]) == []


def test_what_has_no_value_is_refused() -> None:
    """Neither a machine without run nor a value without logarithm."""
    for wrong in ([], [0.0], [float("nan")]):
        with pytest.raises(ValueError, match="positive"):
            outliers([[1.0], [1.0], [1.0], [1.0], wrong])
