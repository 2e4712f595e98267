"""Series of repeated measurements that people published of real Macs, and what is fitted to them.

Two kinds. A series within one process gives the spread of trials and how far each follows the one before. A
spread over whole runs (the deviation of several runs over their mean) gives the spread between runs. Values
taken while a process warmed up, or while the machine was said to throttle, are left out of both.
"""

from __future__ import annotations

import itertools
import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, kw_only=True)
class RecordedSeries:
    """Values in the order taken, after warm-up; `unit` as published."""

    name: str
    source: str
    unit: str
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class RecordedSpread:
    """The sample deviation of `runs` runs over their mean, as published."""

    name: str
    source: str
    deviation: float
    mean: float
    runs: int


WITHIN_RUNS = (
    RecordedSeries(
        name="nanoGPT on a MacBook Air M2, iterations 23 to 34",
        source="github.com/karpathy/nanoGPT/issues/94",
        unit="ms",
        values=(
            *(305.73, 298.21, 308.87, 307.22, 310.79, 306.26),
            *(303.40, 306.29, 304.27, 301.52, 299.67, 304.29),
        ),
    ),
    RecordedSeries(
        name="nanoGPT of 3.4 million parameters on an M2, iterations 2 to 7",
        source="github.com/simonw/public-notes/issues/11",
        unit="ms",
        values=(129.98, 132.61, 130.44, 128.87, 127.75, 130.75),
    ),
    RecordedSeries(
        name="transformer_lm of mlx-examples on an M2 Max, means of ten steps, from the second on",
        source="github.com/ml-explore/mlx-examples/issues/127",
        unit="it/s",
        values=(2.035, 2.033, 2.048, 2.015, 2.038, 2.033, 2.026, 2.008, 2.005),
    ),
    RecordedSeries(
        name="ORPO with mlx-vlm on a Mac, 46 tokens each, iterations 39 to 46",
        source="github.com/Blaizzy/mlx-vlm/pull/795",
        unit="it/s",
        values=(1.672, 1.655, 1.673, 1.688, 1.665, 1.661, 1.700, 1.636),
    ),
)

_DS4_STUDIO = "github.com/antirez/ds4/pull/52"
_DS4_BOOK = "github.com/antirez/ds4/pull/103"
BETWEEN_RUNS = (
    RecordedSpread(name="M2 Ultra, prefill, short", source=_DS4_STUDIO, deviation=0.66, mean=51.86, runs=5),
    RecordedSpread(name="M2 Ultra, decode, short", source=_DS4_STUDIO, deviation=0.04, mean=30.72, runs=5),
    RecordedSpread(name="M2 Ultra, prefill, long", source=_DS4_STUDIO, deviation=0.62, mean=401.58, runs=5),
    RecordedSpread(name="M2 Ultra, decode, long", source=_DS4_STUDIO, deviation=0.07, mean=22.56, runs=5),
    RecordedSpread(name="M5 Max, prefill at 2,048", source=_DS4_BOOK, deviation=1.7, mean=369.7, runs=5),
    RecordedSpread(name="M5 Max, decode at 2,048", source=_DS4_BOOK, deviation=0.07, mean=31.46, runs=5),
    RecordedSpread(
        name="MacBook Air M2, build in s",
        source="github.com/devMEremenko/XcodeBenchmark/pull/341",
        deviation=statistics.stdev((122, 123, 122, 124)),
        mean=statistics.fmean((122, 123, 122, 124)),
        runs=4,
    ),
)

PAIRS_OF_MACHINES = (
    ("M4 Max 16-core, 64 GB, Xcode 16.2", 77, 77),
    ("M4 Pro 14-core, 24 GB, Xcode 16.1", 95, 96),
    ("M4 Pro 12-core, 24 GB, Xcode 16.1", 103, 109),
    ("M4 10-core, 16 GB, Xcode 16.1", 141, 141),
    ("M2 Max 12-core, 64 GB, Xcode 16.2", 124, 126),
    ("M3 Max 14-core, 36 GB, Xcode 15.0.1", 79, 79),
    ("M1 Max 10-core, 64 GB, Xcode 13.1", 92, 93),
    ("M1 Max 10-core, 32 GB, Xcode 13.1", 90, 98),
    ("M1 8-core, 16 GB, Xcode 13.1", 130, 130),
)
"""Seconds of one build on two Macs of one chip, memory, Xcode and macOS (but for its last digit).

All such pairs of the table of github.com/devMEremenko/XcodeBenchmark, 60d82d2. They are of the CPU, of
whole seconds, and of several models in several rooms: nobody has published GPUs of one chip side by side.
"""

LOSSES_TO_HEAT = {
    "github.com/simonw/public-notes/issues/11": 0.06,  # M2, 131 ms at the start, 139 ms after 600 iterations
    "github.com/antirez/ds4/pull/52": 0.30,  # MacBook Pro M4 Max, five long runs without a pause
    "github.com/lablup/mlxcel/pull/756": 0.40,  # MacBook Pro M5 Max, a sweep without pauses: 40 to 77 %
}
"""The share of speed that a machine lost, as published."""


def trial_deviation(recorded: Sequence[RecordedSeries] = WITHIN_RUNS) -> float:
    """Pooled standard deviation of the logarithms about each series' own mean."""
    squares = sum(sum(each**2 for each in _residuals(series)) for series in recorded)
    return math.sqrt(squares / sum(len(series.values) - 1 for series in recorded))


def trial_autocorrelation(recorded: Sequence[RecordedSeries] = WITHIN_RUNS) -> float:
    """Lag-1 autocorrelation, weighted by length, with the bias of short series (1 + 4r)/n taken off.

    Kendall and Stuart, The Advanced Theory of Statistics, volume 3, chapter 48. Never below 0.
    """
    total = sum(len(series.values) * _corrected_autocorrelation(series) for series in recorded)
    return max(0.0, total / sum(len(series.values) for series in recorded))


def run_deviation(recorded: Sequence[RecordedSpread] = BETWEEN_RUNS) -> float:
    """Pooled relative standard deviation between runs of one session on a cool machine."""
    squares = sum((each.runs - 1) * (each.deviation / each.mean) ** 2 for each in recorded)
    return math.sqrt(squares / sum(each.runs - 1 for each in recorded))


def machine_deviation(recorded: Sequence[tuple[str, float, float]] = PAIRS_OF_MACHINES) -> float:
    """Relative standard deviation between machines of one chip, without that between runs.

    From the median of the pairs' differences, as of normal values: two of nine pairs are 6 and 8 % apart,
    which is what hot and disturbed runs do, and those are drawn apart. Pooled with them it would be 2.5 %.
    """
    differences = [abs(math.log(one / other)) / math.sqrt(2) for _, one, other in recorded]
    deviation = statistics.median(differences) / statistics.NormalDist().inv_cdf(0.75)
    return math.sqrt(deviation**2 - run_deviation() ** 2)


def _residuals(series: RecordedSeries) -> list[float]:
    logarithms = [math.log(value) for value in series.values]
    mean = statistics.fmean(logarithms)
    return [each - mean for each in logarithms]


def _corrected_autocorrelation(series: RecordedSeries) -> float:
    residuals = _residuals(series)
    products = sum(one * next_ for one, next_ in itertools.pairwise(residuals))
    observed = products / sum(each**2 for each in residuals)
    return observed + (1 + 4 * observed) / len(residuals)
