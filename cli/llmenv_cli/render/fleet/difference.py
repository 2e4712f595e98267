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
# Of these a ratio far below 1 is said as its inverse: "8 times faster" of an eighth of the time.
INVERTED = frozenset({"time", "rate"})
# Below this, in percent, nothing is left after rounding.
NOTHING = 0.05
# From this factor on, percentages are hard to picture.
TIMES = 2.0


def difference(ratio: float, series: Series, texts: Texts) -> str:
    """Such as "11 % slower" of a ratio of the new to the old."""
    if not math.isfinite(ratio) or ratio < 0:
        return texts.say("difference.unknown")
    if abs(ratio - 1) * 100 < NOTHING:
        return texts.say("difference.none")
    times = _times(ratio, series)
    if times:
        return texts.say(f"difference.{_word(ratio, series)}_times", times=times)
    return texts.say(f"difference.{_word(ratio, series)}", percent=percent(ratio))


def estimated(ratio: Estimate, series: Series, texts: Texts) -> str:
    """The same with the interval that holds it; its ends as numbers alone where they are of one kind."""
    said = difference(ratio.value, series, texts)
    ends = sorted((ratio.low, ratio.high), key=lambda end: abs(math.log(end)) if end > 0 else math.inf)
    if not all(math.isfinite(end) and end > 0 for end in ends) or not ratio.value > 0:
        return said
    kinds = {(_word(one, series), bool(_times(one, series))) for one in (ratio.value, *ends)}
    if len(kinds) > 1 or 1 in ends:
        low, high = (difference(end, series, texts) for end in (ratio.low, ratio.high))
        return texts.say("difference.across", difference=said, low=low, high=high)
    if _times(ratio.value, series):
        low, high = (_times(end, series) for end in ends)
        return texts.say("difference.across", difference=said, low=low, high=high)
    return texts.say("difference.within", difference=said, low=percent(ends[0]), high=percent(ends[1]))


def _word(ratio: float, series: Series) -> str:
    return WORDS[quantity_of(series)][ratio < 1]


def _times(ratio: float, series: Series) -> str:
    """The factor where one is said, else nothing."""
    if ratio >= TIMES:
        return f"{ratio:.3g}"
    if 0 < ratio <= 1 / TIMES and quantity_of(series) in INVERTED:
        return f"{1 / ratio:.3g}"
    return ""


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
