"""Draws of runs without drawing their trials."""

from __future__ import annotations

import numpy as np
import pytest
from llmenv_collector.statistics.nested import Nested
from llmenv_collector.statistics.resampling import machine_draws


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 10])
def test_a_drawn_median_is_distributed_as_that_of_drawn_trials(count: int) -> None:
    """Its quantiles are those of medians of trials that were drawn one by one."""
    rng = np.random.default_rng(count)
    trials = np.sort(rng.lognormal(0, 1, count))
    drawn = machine_draws(Nested.of([[trials]]), np.zeros((40_000, 1), np.int64), rng=rng)[:, 0]
    one_by_one = np.median(rng.choice(trials, (40_000, count)), axis=1)
    for value in np.unique(one_by_one):
        assert np.mean(drawn <= value + 1e-12) == pytest.approx(
            np.mean(one_by_one <= value + 1e-12), abs=0.015
        )


def test_machines_of_different_sizes_are_drawn_in_their_own_size() -> None:
    """No draw leaves the range of its machine's values."""
    side = Nested.of([[[1.0, 2.0]], [[10.0], [11.0, 12.0, 13.0], [14.0]]])
    machines = np.tile([0, 1], (500, 1))
    drawn = machine_draws(side, machines, rng=np.random.default_rng(1))
    assert ((drawn[:, 0] >= 1) & (drawn[:, 0] <= 2)).all()
    assert ((drawn[:, 1] >= 10) & (drawn[:, 1] <= 14)).all()
