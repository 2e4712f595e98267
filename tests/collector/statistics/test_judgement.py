"""What is said of a comparison."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.estimate import Estimate
from llmenv_collector.statistics.judgement import Judgement, judge


@pytest.mark.parametrize(
    ("low", "value", "high", "q_value", "expected"),
    [
        (1.03, 1.05, 1.07, 0.01, "better"),
        (0.93, 0.95, 0.97, 0.01, "worse"),
        (0.99, 1.00, 1.02, 0.90, "same"),
        (1.01, 1.02, 1.025, 0.001, "same"),  # real, and too small to matter
        (1.01, 1.02, 1.04, 0.001, "inconclusive"),  # real, and perhaps too small to matter
        (1.03, 1.05, 1.07, 0.06, "inconclusive"),
        (0.90, 1.05, 1.20, 0.01, "inconclusive"),
        (0.0, 1.05, math.inf, 0.01, "inconclusive"),
    ],
)
def test_every_word_has_its_case(
    low: float, value: float, high: float, q_value: float, expected: str
) -> None:
    """Of a measurement of which more is better, and the opposite where less is."""
    ratio = Estimate(value, low, high)
    opposite = {"better": "worse", "worse": "better"}.get(expected, expected)
    assert judge(ratio, q_value=q_value, direction="higher") == expected
    assert judge(ratio, q_value=q_value, direction="lower") == opposite


@given(st.tuples(*[st.floats(0.5, 2)] * 3).map(sorted), st.floats(0, 1), st.sampled_from(["higher", "lower"]))
@settings(derandomize=True, deadline=None)
def test_a_ratio_and_its_inverse_are_judged_alike(ends: list[float], q_value: float, direction: str) -> None:
    """Swapping candidate and baseline turns better into worse and leaves the rest."""
    low, value, high = ends
    one = judge(Estimate(value, low, high), q_value=q_value, direction=direction)
    other = judge(Estimate(1 / value, 1 / high, 1 / low), q_value=q_value, direction=direction)
    turned = {Judgement.BETTER: Judgement.WORSE, Judgement.WORSE: Judgement.BETTER}
    assert other == turned.get(one, one)


def test_what_is_no_ratio_is_refused() -> None:
    """Neither nothing nor NaN."""
    for value in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="positive"):
            judge(Estimate(value, value, value), q_value=0.5, direction="higher")
