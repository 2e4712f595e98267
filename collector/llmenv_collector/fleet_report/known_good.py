"""What to use instead of a worse version: the fastest of those that were tried and are worse in nothing.

Versions are compared one step at a time, so that two of them are held against each other over the steps
between, in each measurement of speed.  A step that says the same counts for nothing, and one that is
inconclusive leads nowhere.
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2

from llmenv_collector.fleet_report.versions import in_order

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Effect = messages.EffectRow | messages.VerdictEffectRow
    Release = tuple[str, str]
    """Package and version."""
    Steps = dict[str, dict[str, float]]
    """Of one measurement: for a version, the logarithms of how much faster its neighbours are."""

WORSE, BETTER, SAME = messages.JUDGEMENT_WORSE, messages.JUDGEMENT_BETTER, messages.JUDGEMENT_SAME
SEVERE = known_issues.SEVERITIES.index("high")


def known_good(response: messages.GetFleetReportResponse) -> Iterator[messages.KnownGood]:
    """One a version that is worse; none where no other is known to be good."""
    rows: list[Effect] = [*response.effects, *response.verdict_effects]
    bad = {(row.package, row.candidate) for row in rows if row.judgement == WORSE}
    bad |= set(affected(response.exposures))
    good = set(tried(rows)) - bad
    avoided = {
        (row.package, row.candidate) for row in rows if row.judgement == WORSE and not row.confounded_with
    }
    for package, worse in sorted(avoided):
        versions = in_order({version for name, version in good if name == package})
        if versions:
            speeds = speeds_against(worse, [row for row in response.effects if row.package == package])
            # Of equally fast ones the newest.
            best = max(
                versions, key=lambda version: (speeds.get(version, -math.inf), versions.index(version))
            )
            yield messages.KnownGood(package=package, instead_of=worse, version=best)


def affected(rows: Iterable[messages.ExposureRow]) -> Iterator[Release]:
    """Versions with an issue that spoils a training and was reproduced."""
    for row in rows:
        issue = known_issues.find(row.issue_id)
        if row.reproduced and (issue is None or known_issues.SEVERITIES.index(issue.severity) >= SEVERE):
            for said in row.versions:
                package, _, version = said.partition(" ")
                yield package, version


def tried(rows: Iterable[Effect]) -> Iterator[Release]:
    """Versions of which something was found, be it that nothing became worse."""
    for row in rows:
        if row.judgement in {WORSE, BETTER, SAME}:
            yield row.package, row.baseline
        if row.judgement in {BETTER, SAME}:
            yield row.package, row.candidate


def speeds_against(version: str, rows: Iterable[messages.EffectRow]) -> dict[str, float]:
    """How much faster than it the others are: the median over measurements, as logarithms."""
    found: dict[str, list[float]] = defaultdict(list)
    for steps in steps_of(rows).values():
        for other, gain in reached(version, steps).items():
            found[other].append(gain)
    return {other: statistics.median(gains) for other, gains in found.items()}


def steps_of(rows: Iterable[messages.EffectRow]) -> dict[bytes, Steps]:
    """By measurement."""
    found: dict[bytes, Steps] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if row.judgement in {WORSE, BETTER, SAME} and is_of_speed(row.series) and row.ratio.value > 0:
            is_faster_below = row.series.direction == result_pb2.DIRECTION_LOWER_IS_BETTER
            gain = (
                0.0 if row.judgement == SAME else math.log(row.ratio.value) * (-1 if is_faster_below else 1)
            )
            steps = found[row.series.SerializeToString(deterministic=True)]
            steps[row.baseline][row.candidate] = gain
            steps[row.candidate][row.baseline] = -gain
    return found


def is_of_speed(series: messages.Series) -> bool:
    return series.unit == "s" or series.unit.endswith("/s")


def reached(version: str, steps: Steps) -> dict[str, float]:
    """From one version over all steps that lead on."""
    gains, waiting = {version: 0.0}, [version]
    while waiting:
        here = waiting.pop()
        for other, gain in steps.get(here, {}).items():
            if other not in gains:
                gains[other] = gains[here] + gain
                waiting.append(other)
    return gains
