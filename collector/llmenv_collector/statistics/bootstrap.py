"""Intervals of medians and of their ratios, by resampling machines, then runs, then trials.

Trials of a run share its conditions and runs of a machine share the machine, so
trials are not independent and the interval has to come from the machines.  The
interval is the percentile interval (Efron and Tibshirani, An Introduction to the
Bootstrap, 1993, section 13.3) on the log scale, where swapping the sides changes a
sign.  It is not BCa: the acceleration comes from a jackknife, which is inconsistent
for a median (same book, section 11.6).

A plain nested bootstrap is wrong in two directions.  It under-covers with few
machines, because m machines drawn from m vary by (m - 1) / m of what machines vary,
and because a normal quantile is too small: with two machines it reaches no further
than the slower and the faster one, between which the median lies half of the time.
It over-covers where runs vary more than machines, because the machines' values
already contain the variation of the runs, which is then drawn once more (Davison and
Hinkley, Bootstrap Methods and their Application, 1997, section 3.8).  The first error
makes false findings and is corrected: deviations are widened by sqrt(m / (m - 1)) and
by the ratio of Student's to the normal quantile, at the degrees of freedom that the
machines leave (Hesterberg, What Teachers Should Know About the Bootstrap, The
American Statistician 69, 2015, section 4, widens percentile intervals in the same
way).  The second costs power only and is left.

One machine alone says nothing of how machines differ.  It borrows the spread of the
other sides and strata; where none has two machines, the interval is unbounded.

`about` is what an interval speaks of: "fleet" takes the machines for a sample of all
machines of their kind; "machines" speaks of these very machines, so their runs alone
are resampled and runs take the place of machines in what was said above.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from llmenv_collector.statistics.deviations import Units, deviations_of, machines_as_they_are
from llmenv_collector.statistics.estimate import Estimate
from llmenv_collector.statistics.nested import Nested
from llmenv_collector.statistics.resampling import machine_draws

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.random import Generator
    from numpy.typing import NDArray

    from llmenv_collector.statistics.deviations import About


def median_interval(
    side: Nested, *, rng: Generator, confidence: float = 0.95, resamples: int = 2_000, about: About = "fleet"
) -> Estimate:
    """The side's value and its interval, in the unit of the trials, which have to be positive.

    One machine leaves the interval unbounded where it is about the fleet, and so does
    one run each where it is about these machines.  ValueError: a trial that is not positive.
    """
    _refuse_what_has_no_logarithm([side])
    units = Units.of([side], about=about)
    if not units.degrees:
        return Estimate(side.value(), 0.0, math.inf)
    deviations = deviations_of(side, units, rng=rng, resamples=resamples, about=about)
    return _estimate(math.log(side.value()), deviations * units.widening(confidence), confidence)


def ratio_interval(
    candidate: Nested,
    *,
    baseline: Nested,
    rng: Generator,
    confidence: float = 0.95,
    resamples: int = 2_000,
    about: About = "fleet",
) -> Estimate:
    """Candidate's over baseline's value, for sides that share no machine and are of one cohort.

    A side of one machine borrows the spread of the other; one machine each leaves the
    interval unbounded where it is about the fleet.  ValueError: a trial that is not positive.
    """
    return stratified_ratio_interval(
        [(candidate, baseline)], rng=rng, confidence=confidence, resamples=resamples, about=about
    )


def stratified_ratio_interval(
    strata: Sequence[tuple[Nested, Nested]],
    *,
    rng: Generator,
    confidence: float = 0.95,
    resamples: int = 2_000,
    about: About = "fleet",
) -> Estimate:
    """The ratio common to strata of (candidate, baseline), such as chips, without ever pooling their values.

    The log ratios of the strata are averaged with the weights c b / (c + b), c and b being
    the machines of the two sides: the weights that give the smallest variance where machines
    of all strata vary alike on the log scale (Cochran, Biometrics 10, 1954, section 4, for
    proportions), and that no noise in an estimated variance can upset.
    ValueError: no stratum, or a trial that is not positive.
    """
    sides = [side for stratum in strata for side in stratum]
    _refuse_what_has_no_logarithm(sides)
    units = Units.of(sides, about=about)
    weights = np.array([c.machines * b.machines / (c.machines + b.machines) for c, b in strata])
    weights /= weights.sum()
    ratios = [math.log(c.value()) - math.log(b.value()) for c, b in strata]
    centre = float(weights @ np.array(ratios))
    if not units.degrees:
        return Estimate(math.exp(centre), 0.0, math.inf)
    deviations = sum(
        weight * _difference(stratum, units, rng=rng, resamples=resamples, about=about)
        for weight, stratum in zip(weights, strata, strict=True)
    )
    return _estimate(centre, deviations * units.widening(confidence), confidence)


def paired_ratio_interval(
    pairs: Sequence[tuple[Nested, Nested]],
    *,
    rng: Generator,
    confidence: float = 0.95,
    resamples: int = 2_000,
    about: About = "fleet",
) -> Estimate:
    """Median over machines of the candidate's over the baseline's value of that same machine.

    Each pair is (candidate, baseline) of one machine.  Machines are resampled with both
    sides, then runs and trials within each side.  What differs between machines cancels.
    One pair leaves the interval unbounded where it is about the fleet.
    ValueError: no pair, a side of several machines, or a trial that is not positive.
    """
    if not pairs or any(side.machines != 1 for pair in pairs for side in pair):
        raise ValueError("A pair has to be the two sides of one machine.")
    ordered = sorted(pairs, key=lambda pair: sorted(side.values.tolist() for side in pair))
    candidate, baseline = (Nested.joined([pair[side] for pair in ordered]) for side in (0, 1))
    _refuse_what_has_no_logarithm([candidate, baseline])
    ratios = np.log(candidate.machine_values()) - np.log(baseline.machine_values())
    centre = float(np.median(ratios))
    first, second = _in_order(candidate, baseline)
    if about == "fleet":
        units = Units.of_groups([ratios])
        machines = rng.integers(len(pairs), size=(resamples, len(pairs)))
        drawn = [np.log(machine_draws(side, machines, rng=rng)) for side in (first, second)]
    else:
        units = Units.of([first, second], about=about)
        drawn = [machines_as_they_are(side, units, rng=rng, resamples=resamples) for side in (first, second)]
    if not units.degrees:
        return Estimate(math.exp(centre), 0.0, math.inf)
    sign = 1 if first is candidate else -1
    deviations = np.median(sign * (drawn[0] - drawn[1]), axis=1) - centre
    if about == "fleet":
        deviations *= math.sqrt(len(pairs) / (len(pairs) - 1))
    return _estimate(centre, deviations * units.widening(confidence), confidence)


def _difference(
    stratum: tuple[Nested, Nested], units: Units, *, rng: Generator, resamples: int, about: About
) -> NDArray[np.float64]:
    candidate, baseline = stratum
    first, second = _in_order(candidate, baseline)
    drawn = [
        deviations_of(side, units, rng=rng, resamples=resamples, about=about) for side in (first, second)
    ]
    return drawn[0] - drawn[1] if first is candidate else drawn[1] - drawn[0]


def _in_order(one: Nested, other: Nested) -> tuple[Nested, Nested]:
    """Whatever is called candidate, the same side is drawn first: swapping the sides swaps the interval."""
    return (one, other) if one.values.tolist() <= other.values.tolist() else (other, one)


def _estimate(centre: float, deviations: NDArray[np.float64], confidence: float) -> Estimate:
    tail = (1 - confidence) / 2
    low, high = np.quantile(deviations, [tail, 1 - tail])
    return Estimate(math.exp(centre), math.exp(centre + min(low, 0.0)), math.exp(centre + max(high, 0.0)))


def _refuse_what_has_no_logarithm(sides: Sequence[Nested]) -> None:
    if not sides or any(side.values.min() <= 0 for side in sides):
        raise ValueError("A ratio needs sides whose trials are positive.")
