"""The noise of simulated fleets is that of the recorded series, as far as there are any."""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest
from llmenv_agent.simulation import noise, recorded_series
from llmenv_agent.simulation.noise import QUIET, Noise

FITTED = Noise()


def autocorrelation(values: list[float]) -> float:
    mean = statistics.fmean(values)
    residuals = [each - mean for each in values]
    products = sum(one * other for one, other in itertools.pairwise(residuals))
    return products / sum(each**2 for each in residuals)


def test_fitted_parameters_are_what_the_recordings_give() -> None:
    """To the digits that are written down."""
    assert FITTED.trial_deviation == pytest.approx(recorded_series.trial_deviation(), rel=0.02)
    assert FITTED.trial_autocorrelation == pytest.approx(recorded_series.trial_autocorrelation(), abs=0.005)
    assert FITTED.run_deviation == pytest.approx(recorded_series.run_deviation(), rel=0.02)
    machines = math.hypot(FITTED.machine_deviation, FITTED.workload_deviation)
    assert machines == pytest.approx(recorded_series.machine_deviation(), rel=0.03)
    losses = recorded_series.LOSSES_TO_HEAT.values()
    assert min(losses) <= FITTED.hot_loss <= max(losses)


def test_trials_have_the_fitted_deviation_and_autocorrelation() -> None:
    """Without slow trials, over a long series."""
    still = Noise(slow_trial_share=0.0)
    logarithms = [math.log(each) for each in noise.trials(still, random.Random(1), count=20_000)]
    assert statistics.stdev(logarithms) == pytest.approx(FITTED.trial_deviation, rel=0.03)
    assert autocorrelation(logarithms) == pytest.approx(FITTED.trial_autocorrelation, abs=0.02)


def test_runs_are_autocorrelated_with_a_heavy_tail_towards_slow() -> None:
    """The mean lies below the median, extremes far below it."""
    logarithms = [math.log(each) for each in noise.run_speeds(FITTED, random.Random(2), runs=20_000)]
    median, deviation = statistics.median(logarithms), statistics.stdev(logarithms)
    assert min(logarithms) < median - 8 * deviation
    assert max(logarithms) < median + 8 * deviation
    calm = Noise(hot_share=0.0, disturbed_share=0.0)
    logarithms = [math.log(each) for each in noise.run_speeds(calm, random.Random(3), runs=20_000)]
    share = calm.day_deviation**2 / (calm.day_deviation**2 + calm.run_deviation**2)
    assert autocorrelation(logarithms) == pytest.approx(calm.day_autocorrelation * share, abs=0.03)


def test_quiet_noise_is_two_percent_gaussian() -> None:
    """What textbooks assume, for comparison."""
    speeds = noise.run_speeds(QUIET, random.Random(4), runs=20_000)
    assert statistics.stdev(speeds) == pytest.approx(0.02, rel=0.03)
    assert autocorrelation(speeds) == pytest.approx(0.0, abs=0.03)


def test_declining_trials_lose_what_was_asked() -> None:
    """Evenly from the first to the last."""
    still = Noise(slow_trial_share=0.0, trial_deviation=0.0)
    assert noise.trials(still, random.Random(5), count=5, declines_by=0.2) == pytest.approx(
        [1.0, 0.95, 0.9, 0.85, 0.8]
    )
