"""What the statistics of the collector cover, find and find falsely, on values whose truth is known.

Intervals: the share that holds the true ratio, 1, where 95 % are asked for.  Outliers and
change points: the share of cohorts and series in which the planted one is found, and in
which one is found although none is there.  A/A and power: of halves of a series, drawn at
random, where `llmenv stats selftest` takes consecutive results of a fleet's own history.
Every figure is of seeded values.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import numpy as np
from llmenv_collector.statistics.bootstrap import (
    paired_ratio_interval,
    ratio_interval,
    stratified_ratio_interval,
)
from llmenv_collector.statistics.change_points import ChangePoint, change_points, update
from llmenv_collector.statistics.nested import Nested
from llmenv_collector.statistics.outliers import outliers
from llmenv_collector.statistics.permutation import stratified_permutation_p
from llmenv_collector.statistics.proportions import clopper_pearson
from llmenv_collector.statistics.selftest import false_positives, power_curve

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Values = NDArray[np.float64]

SEED = 2026
CV = 0.02
RNG = np.random.default_rng(SEED)


def side(machines: int, *, between: float = CV, within: float = 0.005, runs: int = 4) -> Nested:
    levels = RNG.normal(0, between, machines)
    return Nested.of(
        [
            [np.exp(each + RNG.normal(0, within) + RNG.normal(0, within, 3)) for _ in range(runs)]
            for each in levels
        ]
    )


def covers(strata: list[tuple[Nested, Nested]]) -> bool:
    estimate = stratified_ratio_interval(strata, rng=RNG, resamples=500)
    return estimate.low <= 1 <= estimate.high


def noisy_runs() -> tuple[Nested, Nested]:
    return side(8, within=CV), side(8, within=CV)


def covers_pairs(machines: int) -> bool:
    pairs = [(side(1, between=0.01), side(1, between=0.01)) for _ in range(machines)]
    estimate = paired_ratio_interval(pairs, rng=RNG, resamples=500)
    return estimate.low <= 1 <= estimate.high


def covers_runs(runs: int) -> bool:
    sides = [side(1, between=0.0, within=CV, runs=runs) for _ in range(2)]
    estimate = ratio_interval(sides[0], baseline=sides[1], rng=RNG, resamples=500, about="machines")
    return estimate.low <= 1 <= estimate.high


def called_different() -> bool:
    strata = [
        (RNG.lognormal(0, CV, 9), RNG.lognormal(0, CV, 9)),
        (RNG.lognormal(2, CV, 4), RNG.lognormal(2, CV, 7)),
    ]
    return stratified_permutation_p(strata, rng=RNG, permutations=199, refined=999) <= 0.05


def cohort(shift: float, *, machines: int = 8, runs: int) -> bool:
    """Whether machine 0, which is shifted, is called an outlier; without shift, whether any is."""
    values = [np.exp(RNG.normal(0, CV, runs)) for _ in range(machines)]
    values[0] = values[0] * (1 + shift)
    found = {each.index for each in outliers(values, minimum_effect=0.03 if shift else 0.0)}
    return 0 in found if shift else bool(found)


def noise(length: int, *, correlation: float = 0.0, heavy: bool = False) -> Values:
    """Of standard deviation 1; heavy tails are those of Student's t with 4 degrees of freedom."""
    steps = RNG.standard_t(4, length + 50) / np.sqrt(2) if heavy else RNG.normal(0, 1, length + 50)
    values: Values = steps * np.sqrt(1 - correlation**2)
    for index in range(1, len(values)):
        values[index] += correlation * values[index - 1]
    return values[50:]


def changes(shift: float, *, within: int = 0, correlation: float = 0.0) -> bool:
    """Whether the change in the middle of sixty runs is found so near; without, whether any is."""
    values = np.exp(CV * noise(60, correlation=correlation)) * np.where(np.arange(60) < 30, 1, 1 + shift)
    found = [point.index for point in change_points(values, rng=RNG)]
    return any(abs(index - 30) <= within for index in found) if shift else bool(found)


def upkeep(step: int) -> bool:
    """Whether a series of 120 runs without change, updated after each `step` runs, ends with one."""
    values = noise(120)
    points: list[ChangePoint] = []
    for length in range(20, 121, step):
        points = update(points, values[:length], rng=RNG)
    return bool(points)


CASES: list[tuple[str, float, Callable[[], bool]]] = [
    *(
        (f"ratio covered, {m} against {m} machines", 0.95, lambda m=m: covers([(side(m), side(m))]))
        for m in (2, 3, 5, 8)
    ),
    ("ratio covered, 1 against 5 machines", 0.95, lambda: covers([(side(1), side(5))])),
    ("ratio covered, 8 against 8, runs vary as machines do", 0.95, lambda: covers([noisy_runs()])),
    ("ratio covered, 4 strata of 1 against 2", 0.95, lambda: covers([(side(1), side(2)) for _ in range(4)])),
    *((f"paired ratio covered, {m} machines", 0.95, lambda m=m: covers_pairs(m)) for m in (2, 3, 8)),
    *(
        (f"one machine against another covered, {r} runs each", 0.95, lambda r=r: covers_runs(r))
        for r in (2, 5, 20)
    ),
    ("no difference called one at 5 %, two strata", 0.05, called_different),
    *(
        (f"outlier in a cohort of {m} without, 1 run", 0.05, lambda m=m: cohort(0, machines=m, runs=1))
        for m in (5, 8, 12)
    ),
    *(
        (f"outlier of 8 % found in a cohort of 8, {r} runs", 0.9, lambda r=r: cohort(0.08, runs=r))
        for r in (1, 3, 6, 20)
    ),
    *(
        (f"change in 60 runs without, correlation {c}", 0.05, lambda c=c: changes(0, correlation=c))
        for c in (0.0, 0.3, 0.6)
    ),
    *(
        (f"change kept in 120 runs without, updated after each {n}", 0.05, lambda n=n: upkeep(n))
        for n in (1, 10)
    ),
    ("change of 10 % found within 1 run", 0.95, lambda: changes(0.1, within=1)),
    ("change of 5 % found within 3 runs", 0.95, lambda: changes(0.05, within=3)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repetitions")
    parser.add_argument("--only", default="", metavar="WORDS", help="cases whose name has these words")
    arguments = parser.parse_args()
    repetitions = 40 if arguments.quick else 400
    figures = []

    def show(name: str, hits: int, tries: int, wanted: float) -> None:
        share = clopper_pearson(hits, tries)
        at_least = wanted > 0.5
        holds = share.high >= wanted if at_least else share.low <= wanted
        print(f"{name:58} {share.value:6.1%}  [{share.low:.1%}, {share.high:.1%}]  of {tries}", flush=True)
        target = f"{'>=' if at_least else '<='} {wanted}, within its interval"
        figures.append(
            {"benchmark": name, "figure": share.value, "unit": "share", "target": target, "holds": holds}
        )

    start = RNG.bit_generator.state
    for name, wanted, case in CASES:
        if arguments.only not in name:
            continue
        RNG.bit_generator.state = start  # so that a case alone gives the figure of all of them
        show(name, sum(case() for _ in range(repetitions)), repetitions, wanted)
    for kind, heavy, correlation in (("Gaussian", False, 0.0), ("heavy-tailed, correlation 0.5", True, 0.5)):
        name = f"A/A, 20 a side, {kind}"
        if arguments.only not in name:
            continue
        RNG.bit_generator.state = start
        series = [
            np.exp(CV * noise(60, heavy=heavy, correlation=correlation)) for _ in range(repetitions // 10)
        ]
        told = false_positives(series, rng=RNG, per_side=20, splits=5)
        show(name, told.better + told.worse, told.comparisons, 0.05)
        for power in power_curve(series, rng=RNG, per_side=20, splits=5):
            hits = round(power.found.value * power.comparisons)
            print(
                f"  shift of {power.shift:4.0%} found {hits / power.comparisons:6.1%}  of {power.comparisons}"
            )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
