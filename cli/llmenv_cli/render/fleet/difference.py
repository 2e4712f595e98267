"""Differences in words that say which way: slower or faster, more memory or less, never a bare ratio."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import Estimate, Series

# What is said of a ratio above 1, and of one below.
WORDS = {
    "time": ("slower", "faster"),
    "rate": ("faster", "slower"),
    "memory": ("more_memory", "less_memory"),
    "size": ("larger", "smaller"),
    "value": ("higher", "lower"),
}
# Below this, in percent, nothing is left after rounding.
NOTHING = 0.05
# From this ratio on, percentages are hard to picture.
TIMES = 2.0


def difference(ratio: float, series: Series, texts: Texts) -> str:
    """Such as "11 % slower" of a ratio of the new to the old."""
    if not math.isfinite(ratio) or ratio < 0:
        return texts.say("difference.unknown")
    if abs(ratio - 1) * 100 < NOTHING:
        return texts.say("difference.none")
    word = WORDS[quantity_of(series)][ratio < 1]
    if ratio >= TIMES:
        return texts.say(f"difference.{word}_times", times=f"{ratio:.3g}")
    return texts.say(f"difference.{word}", percent=percent(ratio))


def estimated(ratio: Estimate, series: Series, texts: Texts) -> str:
    """The same with the interval that holds it."""
    said = difference(ratio.value, series, texts)
    ends = sorted((ratio.low, ratio.high), key=lambda end: abs(end - 1))
    if not all(math.isfinite(end) for end in ends):
        return said
    if max(ends) < TIMES and (min(ends) > 1 or max(ends) < 1):
        return texts.say("difference.within", difference=said, low=percent(ends[0]), high=percent(ends[1]))
    low, high = (difference(end, series, texts) for end in (ratio.low, ratio.high))
    return texts.say("difference.across", difference=said, low=low, high=high)


def quantity_of(series: Series) -> str:
    """A time, a rate, an amount of memory, a size, or any other value."""
    unit = series.unit
    if unit == "s":
        return "time"
    if unit.endswith("/s") or unit == "1/ms":
        return "rate"
    if unit == "byte":
        return "memory" if "memory" in series.measurement or "peak" in series.measurement else "size"
    return "value"


def percent(ratio: float) -> str:
    """How far a ratio is from 1: whole from 10 % on, one decimal below."""
    return share(abs(ratio - 1))


def share(value: float) -> str:
    """A share in percent, without the sign."""
    hundredths = value * 100
    return f"{hundredths:.0f}" if hundredths >= 9.95 else f"{hundredths:.1f}".removesuffix(".0")
