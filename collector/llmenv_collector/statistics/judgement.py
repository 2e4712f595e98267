"""What is said of a comparison, in one word."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from llmenv_collector.statistics.estimate import Estimate


class Judgement(StrEnum):
    BETTER = "better"
    WORSE = "worse"
    SAME = "same"
    """The whole interval lies within the least effect that matters."""
    INCONCLUSIVE = "inconclusive"
    """Neither a difference nor its absence is shown."""


def judge(
    ratio: Estimate,
    *,
    q_value: float,
    direction: Literal["higher", "lower"],
    minimum_effect: float = 0.03,
    rate: float = 0.05,
) -> Judgement:
    """Of a candidate's over a baseline's value, where `direction` is the better one.

    A difference has to be significant (`q_value` <= `rate`, adjusted for all comparisons of the
    report), at least `minimum_effect` large, and its interval has to exclude 1.  The same is said
    only if the interval lies within +-log(1 + minimum_effect): a ratio and its inverse are judged
    alike.  (Equivalence by an interval: Schuirmann, Journal of Pharmacokinetics and
    Biopharmaceutics 15, 1987, 657-680.)  ValueError: a ratio that is not positive.
    """
    if not ratio.value > 0:
        raise ValueError("A ratio is positive.")
    least = math.log1p(minimum_effect)
    low, value, high = (
        math.log(end) if end > 0 else -math.inf for end in (ratio.low, ratio.value, ratio.high)
    )
    if -least < low and high < least:
        return Judgement.SAME
    if q_value > rate or abs(value) < least or low <= 0 <= high:
        return Judgement.INCONCLUSIVE
    return Judgement.BETTER if (value > 0) == (direction == "higher") else Judgement.WORSE
