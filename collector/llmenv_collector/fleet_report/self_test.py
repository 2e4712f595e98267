"""How the statistics of a report do on this fleet's own history.

A/A: of results that followed one another on one machine in one context, in which nothing
changed, the earlier half is compared with the later half, as before and after an upgrade;
which half is called the candidate is drawn.  Whatever is called better or worse is false.
Halves are consecutive on purpose: halves drawn at random could be exchanged whatever the
history is like, and would hide that neighbouring results are alike.
Power: the same halves, one of them made faster or slower by a planted shift.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2

from llmenv_collector import clock
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report import coverage, method, period
from llmenv_collector.fleet_report.cells import lay_out_contexts, read_cells
from llmenv_collector.fleet_report.hypotheses import measured_judgement
from llmenv_collector.fleet_report.rows import estimate_message
from llmenv_collector.fleet_report.sides import RESAMPLES
from llmenv_collector.statistics.grouped import paired_results_ratio_interval
from llmenv_collector.statistics.proportions import clopper_pearson
from llmenv_collector.statistics.stratified_ranks import stratified_rank_sum_p

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb
    from numpy.random import Generator
    from numpy.typing import NDArray

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.cells import Cells
    from llmenv_collector.fleet_report.question import Question

    Half = NDArray[np.float64]

REPETITIONS = 200
MOST_REPETITIONS = 2_000
HALF = 10
"""Results a side and machine."""
SHORTEST_HALF = 5
SHIFTS = (0.05, 0.1)
BETTER, WORSE = messages.JUDGEMENT_BETTER, messages.JUDGEMENT_WORSE


class Name(NamedTuple):
    """Definitions and parameters are taken together."""

    check_name: str
    case_name: str
    measurement: str
    unit: str
    direction: int
    device: str


class History(NamedTuple):
    """Values of one machine, in the order of time."""

    machine: int
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Terms:
    """When a difference is called one."""

    level: float
    minimum_effect: float
    confidence: float
    repetitions: int
    seed: int


@dataclass(frozen=True)
class Tried:
    false_positives: tuple[messages.FalsePositiveRow, ...]
    power: tuple[messages.PowerRow, ...]
    too_short: int


def self_test(
    request: messages.SelfTestStatisticsRequest,
    connection: duckdb.DuckDBPyConnection,
    looked_at: period.Period,
    question: Question,
    analysis: Analysis,
) -> messages.SelfTestStatisticsResponse:
    """Raises UsageError for more repetitions than are answered."""
    if request.repetitions > MOST_REPETITIONS:
        raise UsageError(f"At most {MOST_REPETITIONS} repetitions are answered, not {request.repetitions}.")
    coverage.require_known(connection, looked_at.checks)
    period.lay_out(connection, looked_at)
    period.lay_out_measurements(connection)
    lay_out_contexts(connection)
    terms = Terms(
        level=question.false_discovery_rate,
        minimum_effect=question.minimum_effect,
        confidence=question.confidence,
        repetitions=request.repetitions or REPETITIONS,
        seed=request.seed,
    )
    tried = analysis.judge(judge_self_test, read_cells(connection, in_order_of_time=True), terms)
    return messages.SelfTestStatisticsResponse(
        generated_at=clock.to_timestamp(clock.now()),
        false_positives=tried.false_positives,
        power=tried.power,
        too_short=tried.too_short,
        level=terms.level,
        method=method.method(connection, question),
    )


def judge_self_test(cells: Cells, terms: Terms) -> Tried:
    """One row a check, case, measurement and device; of power, one a shift besides."""
    false_positives, power, too_short = [], [], 0
    for name, histories in histories_of(cells).items():
        if not histories:
            too_short += 1
            continue
        # What else was measured does not change what is drawn.
        rng = np.random.default_rng([terms.seed, *"/".join(map(str, name)).encode()])
        series = named(name)
        false_positives.append(false_positive_row(series, histories, terms, rng))
        if series.direction:
            power += [power_row(series, histories, shift, terms, rng) for shift in SHIFTS]
    return Tried(tuple(false_positives), tuple(power), too_short)


def histories_of(cells: Cells) -> dict[Name, list[History]]:
    """Of each measurement: the results of one machine, series and context, where they make two halves."""
    histories: dict[Name, list[History]] = defaultdict(list)
    for cell in range(len(cells.middles)):
        series = cells.series[cells.series_of[cell]]
        found = histories[Name(*series[:6])]
        values = cells.values_of(cell)
        if values.size >= 2 * SHORTEST_HALF:
            found.append(History(int(cells.machine_of[cell]), values))
    return histories


def false_positive_row(
    series: messages.Series, histories: Sequence[History], terms: Terms, rng: Generator
) -> messages.FalsePositiveRow:
    judged = [judged_halves(*halves(histories, rng), series, terms, rng) for _ in range(terms.repetitions)]
    better, worse = judged.count(BETTER), judged.count(WORSE)
    share = functools.partial(clopper_pearson, trials=len(judged), confidence=terms.confidence)
    return messages.FalsePositiveRow(
        series=series,
        machines=len({history.machine for history in histories}),
        comparisons=len(judged),
        called_better=estimate_message(share(better)),
        called_worse=estimate_message(share(worse)),
        called_different=estimate_message(share(better + worse)),
    )


def power_row(
    series: messages.Series, histories: Sequence[History], shift: float, terms: Terms, rng: Generator
) -> messages.PowerRow:
    """Half of the shifts are upwards, half downwards by the same ratio."""
    found = 0
    for number in range(terms.repetitions):
        upwards = number % 2 == 0
        candidate, baseline = halves(histories, rng)
        moved = candidate * (1 + shift) if upwards else candidate / (1 + shift)
        is_better = upwards == (series.direction == result_pb2.DIRECTION_HIGHER_IS_BETTER)
        found += judged_halves(moved, baseline, series, terms, rng) == (BETTER if is_better else WORSE)
    share = clopper_pearson(found, terms.repetitions, terms.confidence)
    return messages.PowerRow(
        series=series, shift=shift, comparisons=terms.repetitions, found=estimate_message(share)
    )


def halves(histories: Sequence[History], rng: Generator) -> tuple[Half, Half]:
    """Consecutive results of one machine, (candidate, baseline) in either order."""
    values = histories[int(rng.integers(len(histories)))].values
    size = min(HALF, values.size // 2)
    start = int(rng.integers(values.size - 2 * size + 1))
    earlier, later = values[start : start + size], values[start + size : start + 2 * size]
    return (earlier, later) if rng.random() < 0.5 else (later, earlier)


def judged_halves(
    candidate: Half, baseline: Half, series: messages.Series, terms: Terms, rng: Generator
) -> messages.Judgement.ValueType:
    """As one version against another on one machine is judged, alone in its report."""
    p_value = stratified_rank_sum_p([(candidate, baseline)])
    ratio = float(np.median(candidate) / np.median(baseline))
    if p_value > terms.level or abs(math.log(ratio)) < math.log1p(terms.minimum_effect):
        return messages.JUDGEMENT_INCONCLUSIVE
    interval = paired_results_ratio_interval(
        [(np.log(candidate), np.log(baseline))],
        rng=rng,
        confidence=terms.confidence,
        resamples=RESAMPLES,
    )
    return measured_judgement(
        interval,
        series.direction or result_pb2.DIRECTION_HIGHER_IS_BETTER,
        q_value=p_value,
        minimum_effect=terms.minimum_effect,
        rate=terms.level,
    )


def named(name: Name) -> messages.Series:
    return messages.Series(**name._asdict())
