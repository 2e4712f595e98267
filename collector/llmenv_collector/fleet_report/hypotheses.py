"""Every difference that a report tests, judged together.

Of all p-values of the report, of effects, verdicts, outliers and changes alike, Benjamini
and Hochberg's procedure makes q-values; only then is anything called better or worse, so
that of all that is called a difference no larger share is noise than was allowed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2

from llmenv_collector.statistics.estimate import Estimate
from llmenv_collector.statistics.judgement import Judgement, judge
from llmenv_collector.statistics.multiple import benjamini_hochberg

if TYPE_CHECKING:
    from collections.abc import Sequence

JUDGEMENTS = {
    Judgement.BETTER: messages.JUDGEMENT_BETTER,
    Judgement.WORSE: messages.JUDGEMENT_WORSE,
    Judgement.SAME: messages.JUDGEMENT_SAME,
    Judgement.INCONCLUSIVE: messages.JUDGEMENT_INCONCLUSIVE,
}
OPPOSITE = {
    messages.JUDGEMENT_BETTER: messages.JUDGEMENT_WORSE,
    messages.JUDGEMENT_WORSE: messages.JUDGEMENT_BETTER,
}


class Tested(Protocol):
    """A row with a p-value."""

    p_value: float
    q_value: float
    judgement: messages.Judgement.ValueType


def settle(
    rows: Sequence[Tested], *, minimum_effect: float, false_discovery_rate: float, untold: int = 0
) -> int:
    """Fills in q-values and judgements, and returns how many differences were tested.

    `untold`: differences that were tested too and are no row, since they are too small to matter;
    they count as p = 1, which can only make the others' q-values larger.
    """
    q_values = benjamini_hochberg([*(row.p_value for row in rows), *([1.0] * untold)])
    for row, q_value in zip(rows, q_values, strict=False):
        row.q_value = float(q_value)
        row.judgement = judgement_of(row, minimum_effect=minimum_effect, rate=false_discovery_rate)
    return len(q_values)


def judgement_of(row: Tested, *, minimum_effect: float, rate: float) -> messages.Judgement.ValueType:
    if isinstance(row, messages.VerdictEffectRow):
        return verdict_judgement(row, rate=rate)
    if isinstance(row, messages.OutlierRow):
        far = abs(math.log(row.ratio)) >= math.log1p(minimum_effect)
        interval = Estimate(row.ratio, row.ratio, row.ratio)
        if not far or row.q_value > rate:
            return messages.JUDGEMENT_INCONCLUSIVE
    elif isinstance(row, messages.EffectRow | messages.ChangeRow):
        interval = Estimate(row.ratio.value, row.ratio.low, row.ratio.high)
    else:
        raise TypeError(f"A row of {type(row).__name__} is not judged.")
    return measured_judgement(
        interval,
        row.series.direction,
        q_value=row.q_value,
        minimum_effect=minimum_effect,
        rate=rate,
    )


def measured_judgement(
    ratio: Estimate, direction: int, *, q_value: float, minimum_effect: float, rate: float
) -> messages.Judgement.ValueType:
    """Of a measurement that only describes, a difference is neither better nor worse."""
    judged = JUDGEMENTS[
        judge(ratio, q_value=q_value, direction="higher", minimum_effect=minimum_effect, rate=rate)
    ]
    if direction == result_pb2.DIRECTION_HIGHER_IS_BETTER:
        return judged
    if direction == result_pb2.DIRECTION_LOWER_IS_BETTER:
        return OPPOSITE.get(judged, judged)
    return messages.JUDGEMENT_INCONCLUSIVE if judged in OPPOSITE else judged


def verdict_judgement(row: messages.VerdictEffectRow, *, rate: float) -> messages.Judgement.ValueType:
    """A verdict has no smallest effect that matters."""
    if row.q_value > rate:
        return messages.JUDGEMENT_INCONCLUSIVE
    candidate = row.candidate_failing * row.baseline_machines
    baseline = row.baseline_failing * row.candidate_machines
    if candidate == baseline:
        return messages.JUDGEMENT_INCONCLUSIVE
    return messages.JUDGEMENT_WORSE if candidate > baseline else messages.JUDGEMENT_BETTER
