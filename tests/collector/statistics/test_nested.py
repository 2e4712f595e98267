"""Machines, runs and trials, held flat."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llmenv_collector.statistics.nested import Nested

VALUES = st.floats(0.01, 1e6)
SIDES = st.lists(
    st.lists(st.lists(VALUES, min_size=1, max_size=5), min_size=1, max_size=4), min_size=1, max_size=5
)


@given(SIDES)
@settings(derandomize=True, deadline=None)
def test_the_value_is_the_median_of_medians_of_medians(machines: list[list[list[float]]]) -> None:
    """As numpy takes them one by one."""
    expected = np.median([np.median([np.median(run) for run in runs]) for runs in machines])
    side = Nested.of(machines)
    assert side.value() == pytest.approx(expected, rel=1e-12)
    assert side.machines == len(machines)
    assert side.runs == sum(len(runs) for runs in machines)
    assert side.trials == sum(len(run) for runs in machines for run in runs)


@given(SIDES, st.integers(0, 1_000))
@settings(derandomize=True, deadline=None)
def test_order_is_forgotten(machines: list[list[list[float]]], seed: int) -> None:
    """Of machines, of runs and of trials."""
    draw = random.Random(seed)
    shuffled = [[draw.sample(run, len(run)) for run in draw.sample(runs, len(runs))] for runs in machines]
    one, other = Nested.of(machines), Nested.of(draw.sample(shuffled, len(shuffled)))
    assert one.values.tolist() == other.values.tolist()
    assert one.trial_counts.tolist() == other.trial_counts.tolist()
    assert one.run_counts.tolist() == other.run_counts.tolist()


@pytest.mark.parametrize(
    "machines", [[], [[]], [[[]]], [[[1.0], []]], [[[float("nan")]]], [[[float("inf")]]]]
)
def test_what_is_no_side_is_refused(machines: list[list[list[float]]]) -> None:
    """Nothing empty and nothing that is no number."""
    with pytest.raises(ValueError, match=r"has to be|needs"):
        Nested.of(machines)
