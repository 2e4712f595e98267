"""Noise as repeated measurements of real Macs have it, on the logarithm of speed.

A run is off its machine's level by a slow part (AR(1) from run to run), a fast part, and now and then a loss:
the machine was hot, or somebody used it. Trials of a run are off the run's speed by a small AR(1) and now and
then by a slow trial. Machines of one chip differ by an offset of their own, and by a smaller one a workload.

Fitted to recordings (recorded_series.py): `trial_deviation`, `trial_autocorrelation`, `run_deviation`, and
both deviations of machines together. Assumed, since nobody has published a Mac's runs over months: every
other figure; losses to heat are assumed within what recordings show.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random

MOST_LOST = 0.6


@dataclass(frozen=True, kw_only=True)
class Noise:
    """Deviations of the natural logarithm of speed, and shares of runs or trials."""

    trial_deviation: float = 0.011
    trial_autocorrelation: float = 0.09
    slow_trial_share: float = 0.02
    slow_trial_loss: float = 0.06
    """Mean of an exponential."""
    run_deviation: float = 0.006
    day_deviation: float = 0.010
    """Of the slow part, in the long run."""
    day_autocorrelation: float = 0.6
    """Of the slow part, from one run to the next."""
    hot_share: float = 0.02
    """Runs of a portable machine that lose speed to heat; a fifth of it for others."""
    hot_loss: float = 0.10
    """Median of a log-normal distribution."""
    hot_spread: float = 0.7
    disturbed_share: float = 0.01
    """Runs beside which somebody used the machine."""
    disturbed_loss: float = 0.05
    """Mean of an exponential."""
    machine_deviation: float = 0.0075
    workload_deviation: float = 0.005


QUIET = Noise(
    slow_trial_share=0.0,
    day_deviation=0.0,
    day_autocorrelation=0.0,
    run_deviation=0.02,
    hot_share=0.0,
    disturbed_share=0.0,
)
"""Gaussian, independent from run to run, 2 % between runs: what textbooks assume."""


class SlowPart:
    """An AR(1) process that begins in its long-run distribution."""

    def __init__(self, random: random.Random, *, deviation: float, autocorrelation: float) -> None:
        self._random = random
        self._autocorrelation = autocorrelation
        self._step = deviation * math.sqrt(1 - autocorrelation**2)
        self._value = random.gauss(0.0, deviation)

    def next(self) -> float:
        value = self._value
        self._value = self._autocorrelation * value + self._random.gauss(0.0, self._step)
        return value


def heat_loss(noise: Noise, random: random.Random) -> float:
    """The share of speed that a hot run has lost at its end."""
    return min(MOST_LOST, noise.hot_loss * math.exp(random.gauss(0.0, noise.hot_spread)))


def disturbance(noise: Noise, random: random.Random) -> float:
    """The logarithm that a run loses because somebody used the machine; mostly 0."""
    return random.expovariate(1 / noise.disturbed_loss) if random.random() < noise.disturbed_share else 0.0


def trials(noise: Noise, random: random.Random, *, count: int, declines_by: float = 0.0) -> list[float]:
    """Factors on a run's speed, one a trial, in order; they fall evenly by `declines_by` over the series."""
    part = SlowPart(random, deviation=noise.trial_deviation, autocorrelation=noise.trial_autocorrelation)
    factors = [math.exp(part.next() - _slow_trial(noise, random)) for _ in range(count)]
    if not declines_by:
        return factors
    last = max(1, count - 1)
    return [factor * (1 - declines_by * number / last) for number, factor in enumerate(factors)]


def _slow_trial(noise: Noise, random: random.Random) -> float:
    return random.expovariate(1 / noise.slow_trial_loss) if random.random() < noise.slow_trial_share else 0.0


def run_speeds(noise: Noise, random: random.Random, *, runs: int, is_portable: bool = True) -> list[float]:
    """Factors on a level of 1 for consecutive runs of one workload on one machine: a series by itself."""
    slow = SlowPart(random, deviation=noise.day_deviation, autocorrelation=noise.day_autocorrelation)
    hot_share = hot_share_of(noise, is_portable=is_portable)
    speeds = []
    for _ in range(runs):
        loss = heat_loss(noise, random) if random.random() < hot_share else 0.0
        speed = slow.next() + random.gauss(0.0, noise.run_deviation) - disturbance(noise, random)
        speeds.append(math.exp(speed) * (1 - loss))
    return speeds


def hot_share_of(noise: Noise, *, is_portable: bool) -> float:
    """Desktops have fans that suffice."""
    return noise.hot_share if is_portable else noise.hot_share / 5
