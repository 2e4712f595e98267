"""Does a comparison find what is there, and nothing else: on fleets whose truth is known.

Series are drawn with the noise of `llmenv_agent.simulation` (heavy-tailed, autocorrelated, fitted to recorded
Macs where there are recordings: docs/simulation.md) and handed to the collector's own statistics, compared as
the fleet report compares them.  Every row is of as many seeds as are asked for (200, with --quick 20).

- False discoveries: the share of a report's findings that are none, averaged over reports of twenty
  measurements on 24 machines (and on 6) with planted versions, an outlier and a change; and the share of
  reports in which anything is found where nothing is planted.  Aimed at: the whole 95 % interval at most 5 %.
- Power: how often a slower side is called worse, for textbook noise (independent, Gaussian, 2 %) and for the
  fitted.
- Changes and outliers: how often one that is there is found, within how many runs, and how often one that is
  not, of which the interval may not lie above 5 %.

The last line is a list of JSON objects.  Twenty seeds are too few for an interval within 5 %: with --quick a
bound holds where the interval does not lie above it.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from llmenv_agent.simulation import noise as noises
from llmenv_agent.simulation.noise import QUIET, Noise
from llmenv_collector.fleet_report.cells import Cells
from llmenv_collector.fleet_report.change_search import SeriesOfHistory, search
from llmenv_collector.fleet_report.sides import Sides, compare
from llmenv_collector.statistics.change_points import ChangePoint, change_points
from llmenv_collector.statistics.estimate import Estimate
from llmenv_collector.statistics.judgement import Judgement, judge
from llmenv_collector.statistics.multiple import benjamini_hochberg
from llmenv_collector.statistics.outliers import outliers
from llmenv_collector.statistics.proportions import clopper_pearson

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FITTED = Noise()
SEEDS, QUICK_SEEDS = 200, 20
RUNS, TRIALS = 60, 10
LONG = 360
"""Runs of a history of years."""
RATE = 0.05
MEASUREMENTS, CHANGED_SERIES, OUTLYING_SERIES = 20, 5, 10
PLANTED = {0: 0.95, 1: 0.92, 2: 1.06, 3: 0.90}
"""Factor of the newer version, by measurement; every other measurement is the same."""
COHORT = 8
LEAST = math.log1p(0.03)
"""The least effect that matters to a report, as a logarithm."""


@dataclass(frozen=True)
class Row:
    """A figure of the table; `holds` None where nothing is asked of it."""

    name: str
    figure: float
    low: float
    high: float
    target: str = ""
    holds: bool | None = None


@dataclass(frozen=True)
class Group:
    """Values of one machine, measurement and version."""

    measurement: int
    machine: int
    cohort: int
    version: int
    values: Sequence[float]


@dataclass(frozen=True)
class Finding:
    """A tested difference, and whether it is there; `factor` 1 where it is not."""

    kind: str
    ratio: Estimate
    p_value: float
    factor: float

    def is_called(self, q_value: float) -> Judgement:
        return judge(self.ratio, q_value=q_value, direction="higher")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SEEDS} seeds in place of {SEEDS}")
    parser.add_argument("--seeds", type=int, help="how many")
    options = parser.parse_args()
    seeds = range(options.seeds or (QUICK_SEEDS if options.quick else SEEDS))
    since = time.monotonic()
    rows = [row for section in SECTIONS for row in section(seeds)]
    print(f"{len(seeds)} seeds, {time.monotonic() - since:.0f} s on {os.cpu_count()} cores")
    print(f"{'':<66}{'figure':>8}{'95 % interval':>18}{'target':>10}")
    for row in rows:
        verdict = {None: "", True: "  holds", False: "  MISSED"}[row.holds]
        interval = f"{row.low:.3f} to {row.high:.3f}"
        print(f"{row.name:<66}{row.figure:>8.3f}{interval:>18}{row.target:>10}{verdict}")
    print(json.dumps([as_json(row) for row in rows if row.holds is not None]))
    return 0


def as_json(row: Row) -> dict[str, object]:
    return {
        "benchmark": "comparison: " + row.name,
        "figure": round(row.figure, 4),
        "unit": "share",
        "interval": [round(row.low, 4), round(row.high, 4)],
        "target": row.target,
        "holds": row.holds,
    }


def false_discoveries(seeds: Sequence[int]) -> Iterator[Row]:
    """Of whole reports, with many machines and with few."""
    for machines in (24, 6):
        shares, alarms = [], 0
        found, planted = Counter[str](), Counter[str]()
        for seed in seeds:
            outcome = judged(seed, machines, is_planted=True)
            shares.append(outcome.false / max(1, outcome.false + outcome.found.total()))
            found, planted = found + outcome.found, planted + outcome.planted
            alarms += judged(seed, machines, is_planted=False).false > 0
        name = f"false discovery rate, {machines} machines"
        yield bounded(name, float(np.mean(shares)), mean_interval(shares), reports=len(seeds))
        interval = clopper_pearson(alarms, len(seeds))
        name = f"reports with a finding where nothing is, {machines} machines"
        yield bounded(name, interval.value, (interval.low, interval.high), reports=len(seeds))
        for kind in planted:
            name = f"planted {kind} found in these reports, {machines} machines"
            yield share(name, found[kind], planted[kind])


@dataclass(frozen=True)
class Outcome:
    """Findings of a report that are there, those that are not, and how many there were to find, by kind."""

    found: Counter[str]
    false: int
    planted: Counter[str]


def judged(seed: int, machines: int, *, is_planted: bool) -> Outcome:
    """A report with all its tests adjusted together."""
    findings = list(report(seed, machines, is_planted=is_planted))
    q_values = benjamini_hochberg([each.p_value for each in findings])
    found, false = Counter[str](), 0
    for each, q_value in zip(findings, q_values, strict=True):
        called = each.is_called(float(q_value))
        if called in {Judgement.BETTER, Judgement.WORSE}:
            is_right = each.factor != 1 and (each.factor > 1) == (called is Judgement.BETTER)
            found[each.kind] += is_right
            false += not is_right
    return Outcome(found, false, Counter(each.kind for each in findings if each.factor != 1))


def report(seed: int, machines: int, *, is_planted: bool) -> Iterator[Finding]:
    """Everything that one report tests: versions, outliers, and changes on single machines."""
    draw, rng = random.Random(f"report/{seed}/{machines}"), np.random.default_rng(seed)
    cohorts = max(1, machines // COHORT)
    upgraded_at = [draw.randrange(15, 45) if draw.random() < 0.75 else RUNS for _ in range(machines)]
    offsets = [draw.gauss(0, FITTED.machine_deviation) for _ in range(machines)]
    groups: list[Group] = []
    for measurement in range(MEASUREMENTS):
        factor = PLANTED.get(measurement, 1.0) if is_planted else 1.0
        for machine in range(machines):
            values = level(draw, offsets[machine], run_series(FITTED, draw, is_portable=machine % 2 == 0))
            if is_planted and (measurement, machine) == (OUTLYING_SERIES, 0):
                values = [0.92 * each for each in values]
            if is_planted and (measurement, machine) == (CHANGED_SERIES, 1):
                values = [*values[: RUNS // 2], *(0.9 * each for each in values[RUNS // 2 :])]
            if measurement == CHANGED_SERIES:
                yield changed(f"{seed}/{machine}", values, 0.9 if is_planted and machine == 1 else 1.0)
            at = upgraded_at[machine]
            sides = values[:at], [factor * each for each in values[at:]]
            for version, side in enumerate(sides):
                if side:
                    groups.append(Group(measurement, machine, machine % cohorts, version, side))
    yield from effects(groups, rng, is_planted=is_planted)
    if machines >= COHORT:
        yield from outlying(groups, is_planted=is_planted)


def effects(groups: Sequence[Group], rng: np.random.Generator, *, is_planted: bool) -> Iterator[Finding]:
    cells, strata = cells_of(groups), np.array([each.cohort for each in groups])
    version = np.array([each.version for each in groups])
    for measurement in range(MEASUREMENTS):
        of_it = cells.series_of == measurement
        sides = Sides(np.flatnonzero(of_it & (version == 0)), np.flatnonzero(of_it & (version == 1)), strata)
        difference = compare(cells, sides, rng=rng)
        if difference is not None:
            factor = PLANTED.get(measurement, 1.0) if is_planted else 1.0
            yield Finding("versions", difference.ratio, difference.p_value, factor)


def outlying(groups: Sequence[Group], *, is_planted: bool) -> Iterator[Finding]:
    """Each machine of each cohort and measurement is a test, told or not."""
    for measurement in range(MEASUREMENTS):
        for cohort in sorted({each.cohort for each in groups}):
            members = [
                each
                for each in groups
                if (each.measurement, each.cohort, each.version) == (measurement, cohort, 0)
            ]
            found = {
                members[each.index].machine: each
                for each in outliers([each.values for each in members], level=1.0, minimum_effect=0.0)
            }
            for machine in (each.machine for each in members):
                is_there = is_planted and (measurement, machine) == (OUTLYING_SERIES, 0)
                ratio, p_value = (
                    (found[machine].ratio, found[machine].p_value) if machine in found else (1.0, 1.0)
                )
                yield Finding("outliers", exactly(ratio), p_value, 0.92 if is_there else 1.0)


def changed(name: str, values: Sequence[float], factor: float) -> Finding:
    """The strongest confirmed change of a series, or none."""
    found = [each for each in search(SeriesOfHistory(name, np.asarray(values))) if not each.is_suspected]
    if not found:
        return Finding("changes", exactly(1.0), 1.0, factor)
    strongest = min(found, key=lambda each: each.p_value)
    ratio = Estimate(strongest.after / strongest.before, strongest.low, strongest.high)
    return Finding("changes", ratio, strongest.p_value, factor)


def power(seeds: Sequence[int]) -> Iterator[Row]:
    """Twenty a side, and the curve for the fitted noise."""
    apart = sum(is_called_worse(seed, QUIET, 0.95, machines=20, runs=1) for seed in seeds)
    yield share("5 % slower, Gaussian 2 %, 20 machines a side", apart, len(seeds), least=0.95)
    within = sum(is_called_worse(seed, QUIET, 0.95, machines=1, runs=20) for seed in seeds)
    yield share("5 % slower, Gaussian 2 %, 20 runs a side of one machine", within, len(seeds), least=0.95)
    for runs in (10, 20, 40):
        for percent in (0, 2, 3, 4, 5, 7, 10):
            called = sum(
                is_called_worse(seed, FITTED, 1 - percent / 100, machines=1, runs=runs) for seed in seeds
            )
            name = f"{percent} % slower, fitted noise, {runs} runs a side of one machine"
            yield share(name, called, len(seeds), most=RATE if percent == 0 else None)


def is_called_worse(seed: int, noise: Noise, factor: float, *, machines: int, runs: int) -> bool:
    """By one comparison; both sides on one machine, or each on machines of its own."""
    draw = random.Random(f"power/{seed}/{factor}/{machines}/{runs}")
    groups = []
    for machine in range(machines):
        values = run_series(noise, draw, is_portable=True, runs=2 * runs)
        other = machine if machines == 1 else machines + machine
        groups += [
            Group(0, machine, 0, 0, values[:runs]),
            Group(0, other, 0, 1, [factor * each for each in values[runs:]]),
        ]
    version = np.array([each.version for each in groups])
    sides = Sides(
        np.flatnonzero(version == 0), np.flatnonzero(version == 1), np.zeros(len(groups), dtype=np.int64)
    )
    difference = compare(cells_of(groups), sides, rng=np.random.default_rng(seed))
    return difference is not None and Judgement.WORSE is judge(
        difference.ratio, q_value=difference.p_value, direction="higher"
    )


def changes(seeds: Sequence[int]) -> Iterator[Row]:
    """A change between the 20th and the 40th of sixty runs, one at the end of a long history, and none."""
    for factor, within in ((0.9, 1), (0.95, 3)):
        hits = 0
        for seed in seeds:
            draw, rng = random.Random(f"change/{seed}/{factor}"), np.random.default_rng(seed)
            at = draw.randrange(20, 41)
            values = run_series(FITTED, draw, is_portable=seed % 2 == 0)
            values = [*values[:at], *(factor * each for each in values[at:])]
            hits += any(abs(each.index - at) <= within for each in change_points(values, rng=rng))
        name = f"change of {1 - factor:.0%} found within {within} runs, fitted noise"
        yield share(name, hits, len(seeds), least=0.95)
    for noise, words, after in (
        (QUIET, "Gaussian 2 %", 10),
        (FITTED, "fitted noise", 10),
        (FITTED, "fitted noise", 12),
    ):
        hits = sum(is_confirmed(seed, noise, after) for seed in seeds)
        name = f"drop of 10 % after {LONG} runs, confirmed {after} later, {words}"
        yield share(name, hits, len(seeds), least=0.95 if noise == QUIET else None)
    for runs in (RUNS, LONG):
        calm = [calm_changes(seed, runs) for seed in seeds]
        alarms = sum(bool(found) for found in calm)
        name = f"series of {runs} runs in which a change is found where none is"
        yield share(name, alarms, len(seeds), most=RATE)
        large = sum(any(abs(math.log(one.after / one.before)) >= LEAST for one in found) for found in calm)
        yield share(f"series of {runs} runs in which one of 3 % or more is", large, len(seeds), most=RATE)


def is_confirmed(seed: int, noise: Noise, after: int) -> bool:
    """Within one run, the newest change of a long history."""
    draw = random.Random(f"long/{seed}")
    values = run_series(noise, draw, is_portable=seed % 2 == 0, runs=LONG + after)
    values = [*values[:LONG], *(0.9 * each for each in values[LONG:])]
    found = change_points(values, rng=np.random.default_rng(seed))
    return any(abs(each.index - LONG) <= 1 for each in found)


def calm_changes(seed: int, runs: int) -> list[ChangePoint]:
    """Those found in a series in which nothing changed."""
    values = run_series(FITTED, random.Random(f"calm/{seed}"), is_portable=seed % 2 == 0, runs=runs)
    return change_points(values, rng=np.random.default_rng(seed))


def cohorts(seeds: Sequence[int]) -> Iterator[Row]:
    """One of eight machines, twenty runs each; also where machines differ more than the fitted noise says."""
    for deviation in (FITTED.machine_deviation, 0.015, 0.025):
        noise = dataclasses.replace(FITTED, machine_deviation=deviation)
        hits = sum(is_found(seed, noise, 0.92) for seed in seeds)
        together = math.hypot(deviation, noise.workload_deviation)
        words = f"8 % outlier among 8 found, machines differ by {together:.1%}"
        is_asked = noise == FITTED
        yield share(words, hits, len(seeds), least=0.9 if is_asked else None)
    alarms = sum(is_found(seed, FITTED, 1.0) for seed in seeds)
    yield share("cohorts of 8 in which one is found where none is", alarms, len(seeds), most=RATE)


def is_found(seed: int, noise: Noise, factor: float) -> bool:
    """The planted one, or any where none is planted."""
    draw = random.Random(f"cohort/{seed}/{factor}")
    machines = [
        level(
            draw,
            draw.gauss(0, noise.machine_deviation),
            run_series(noise, draw, is_portable=seed % 2 == 0, runs=20),
        )
        for _ in range(COHORT)
    ]
    machines[0] = [factor * each for each in machines[0]]
    found = [each.index for each in outliers(machines)]
    return 0 in found if factor != 1 else bool(found)


def run_series(noise: Noise, draw: random.Random, *, is_portable: bool, runs: int = RUNS) -> list[float]:
    """Medians of the trials of consecutive runs, on a level of 1."""
    spread = noise.trial_deviation * math.sqrt(math.pi / 2 / TRIALS) if noise is not QUIET else 0.0
    speeds = noises.run_speeds(noise, draw, runs=runs, is_portable=is_portable)
    return [speed * math.exp(draw.gauss(0, spread)) for speed in speeds]


def level(draw: random.Random, offset: float, values: Sequence[float]) -> list[float]:
    factor = math.exp(offset + draw.gauss(0, FITTED.workload_deviation))
    return [factor * each for each in values]


def cells_of(groups: Sequence[Group]) -> Cells:
    """In the order given, which is by measurement."""
    counts = [len(each.values) for each in groups]
    return Cells(
        series=(),
        machines=(),
        variants=(),
        contexts=(),
        series_of=np.array([each.measurement for each in groups]),
        machine_of=np.array([each.machine for each in groups]),
        variant_of=np.array([each.cohort for each in groups]),
        context_of=np.array([each.version for each in groups]),
        side_of=np.zeros(len(groups), dtype=np.int64),
        middles=np.array([float(np.median(each.values)) for each in groups]),
        starts=np.concatenate([[0], np.cumsum(counts)]),
        values=np.concatenate([np.asarray(each.values) for each in groups]),
    )


def exactly(ratio: float) -> Estimate:
    return Estimate(ratio, ratio, ratio)


def share(name: str, hits: int, total: int, *, least: float | None = None, most: float | None = None) -> Row:
    """A share with its exact interval; at least `least`, or with an interval that is not above `most`."""
    found = clopper_pearson(hits, total)
    target, holds = "", None
    if least is not None:
        target, holds = f">= {least:g}", found.value >= least
    if most is not None:
        target, holds = f"not > {most:g}", found.low <= most
    return Row(name, found.value, found.low, found.high, target, holds)


def bounded(name: str, figure: float, interval: tuple[float, float], *, reports: int) -> Row:
    """With the whole interval at most RATE, where so many reports can show that at all."""
    can_be_shown = clopper_pearson(0, reports).high <= RATE
    return Row(name, figure, *interval, f"<= {RATE:g}", interval[1 if can_be_shown else 0] <= RATE)


def mean_interval(shares: Sequence[float]) -> tuple[float, float]:
    """Of a mean, by resampling reports; never narrower than what reports with any false finding allow."""
    values = np.asarray(shares)
    rng = np.random.default_rng(1)
    means = values[rng.integers(len(values), size=(4_000, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    if not values.any():
        high = clopper_pearson(0, len(values)).high
    return float(low), float(high)


SECTIONS: tuple[Callable[[Sequence[int]], Iterator[Row]], ...] = (false_discoveries, power, changes, cohorts)


if __name__ == "__main__":
    sys.exit(main())
