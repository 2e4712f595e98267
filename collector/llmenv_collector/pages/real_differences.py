"""Real differences, a cause once: what one change does to one check, in however many of its measurements.

A change of version that the effects show, and machines on which a measurement changed with it, are one cause.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = messages.EffectRow | messages.VerdictEffectRow | messages.ChangeRow
Cause = tuple[str, ...]
MACOS = "macos"


def causes_of(
    answer: messages.GetFleetReportResponse, judgement: messages.Judgement.ValueType
) -> Counter[Cause]:
    """How many measurements and verdicts each of them moved."""
    return Counter(cause_of(row) for row in confirmed(answer) if row.judgement == judgement)


def confirmed(answer: messages.GetFleetReportResponse) -> Iterator[Row]:
    yield from answer.effects
    yield from answer.verdict_effects
    yield from (row for row in answer.changes if not row.is_suspected)


def cause_of(row: Row) -> Cause:
    return (*change_of(row), *subject_of(row))


def change_of(row: Row) -> Cause:
    """Where nothing that is watched changed: the machine and the time."""
    if not isinstance(row, messages.ChangeRow):
        kind, name = (MACOS, "") if row.package == MACOS else ("package", row.package)
        return kind, name, row.baseline, row.candidate
    if row.causes:
        best = row.causes[0]
        return best.kind, best.name, best.before, best.after
    return "", row.machine_id, row.environment_name, str(row.changed_at.ToNanoseconds())


def subject_of(row: Row) -> Cause:
    """The check, on a device."""
    if isinstance(row, messages.VerdictEffectRow):
        return row.check_name, row.device
    return row.series.check_name, row.series.device
