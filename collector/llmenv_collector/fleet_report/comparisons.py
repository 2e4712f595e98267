"""The sections of a report that compare, judged together: effects, outliers and changes.

What is tested does not depend on what is shown: a report of one axis or package tests what
the whole report of the same machines, checks and period tests, and says the same of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.fleet_report import changes, unsteady, verdict_changes
from llmenv_collector.fleet_report.effects import judge_effects
from llmenv_collector.fleet_report.hypotheses import settle
from llmenv_collector.fleet_report.outliers import Outliers, judge_outliers
from llmenv_collector.fleet_report.steps import AXES, Wanted
from llmenv_collector.fleet_report.verdict_effects import judge_verdict_effects, read_verdicts
from llmenv_collector.fleet_report.versions import MACOS

if TYPE_CHECKING:
    from concurrent.futures import Future

    import duckdb

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.cells import Cells
    from llmenv_collector.fleet_report.period import Period
    from llmenv_collector.fleet_report.question import Question
    from llmenv_collector.fleet_report.verdict_effects import Verdicts

REAL = {messages.JUDGEMENT_BETTER, messages.JUDGEMENT_WORSE}
TESTED = frozenset({"effects", "verdict_effects", "outliers", "changes"})

NONE = Outliers((), 0)
EVEN, ODD = slice(0, None, 2), slice(1, None, 2)
"""Effects take longest, so each of two processes judges half of the steps."""


@dataclass(frozen=True)
class Judged:
    """Rows without q-values and judgements."""

    effects: tuple[messages.EffectRow, ...] = ()
    verdict_effects: tuple[messages.VerdictEffectRow, ...] = ()
    outliers: Outliers = NONE


@dataclass(frozen=True)
class Begun:
    """What other processes work out meanwhile."""

    effects: tuple[Future[Judged], ...]
    outliers: Future[Judged] | None
    """None where nothing that is tested was asked for."""


def begin(
    connection: duckdb.DuckDBPyConnection, cells: Cells, *, question: Question, analysis: Analysis
) -> Begun:
    """After cells.read_cells."""
    if not question.sections & TESTED:
        return Begun((), None)
    sections, wanted, least = TESTED, family_of(question), question.minimum_effect
    verdicts = read_verdicts(connection)
    return Begun(
        effects=(
            analysis.begin(
                judge, cells, verdicts, wanted, sections - {"outliers"}, minimum_effect=least, part=EVEN
            ),
            analysis.begin(
                judge, cells, None, wanted, sections & {"effects"}, minimum_effect=least, part=ODD
            ),
        ),
        outliers=analysis.begin(judge, cells, None, wanted, sections & {"outliers"}, minimum_effect=least),
    )


def add_comparisons(
    response: messages.GetFleetReportResponse,
    connection: duckdb.DuckDBPyConnection,
    begun: Begun,
    *,
    looked_at: Period,
    question: Question,
) -> None:
    """Fills in what was asked for, and Method.tests."""
    if "unsteady" in question.sections:
        response.unsteady.extend(unsteady.unsteady(connection))
    if "verdict_changes" in question.sections:
        response.verdict_changes.extend(verdict_changes.verdict_changes(connection))
    if begun.outliers is None:
        return
    changed = changes.read_changes(connection, looked_at, minimum_effect=question.minimum_effect)
    response.changes.extend(changed.rows)
    if changed.analysed_at is not None:
        response.method.changes_analysed_at.CopyFrom(changed.analysed_at)
    for part in begun.effects:
        judged = part.result()
        response.effects.extend(judged.effects)
        response.verdict_effects.extend(judged.verdict_effects)
    outliers = begun.outliers.result().outliers
    response.outliers.extend(outliers.rows)
    response.method.tests = settle(
        [
            *response.effects,
            *response.verdict_effects,
            *response.outliers,
            *(row for row in response.changes if not row.is_suspected),
        ],
        minimum_effect=question.minimum_effect,
        false_discovery_rate=question.false_discovery_rate,
        untold=changed.untold + outliers.untold,
    )
    keep_what_was_asked_for(response, question)
    put_in_order(response)


def keep_what_was_asked_for(response: messages.GetFleetReportResponse, question: Question) -> None:
    for section in TESTED - question.sections:
        del getattr(response, section)[:]
    packages = wanted_of(question).axes
    if packages == AXES:
        return
    effects = [row for row in response.effects if row.package in packages]
    verdict_effects = [row for row in response.verdict_effects if row.package in packages]
    del response.effects[:], response.verdict_effects[:]
    response.effects.extend(effects)
    response.verdict_effects.extend(verdict_effects)


def family_of(question: Question) -> Wanted:
    """The steps of every package, those that were asked for in place of a package's own."""
    wanted = wanted_of(question)
    return replace(wanted, packages=tuple(dict.fromkeys((*AXES, *wanted.axes))))


def wanted_of(question: Question) -> Wanted:
    packages = (question.package,) if question.package else ()
    if question.by == messages.AXIS_MACOS and not packages:
        packages = (MACOS,)
    return Wanted(
        packages=packages,
        baseline=question.baseline,
        candidate=question.candidate,
        confidence=question.confidence,
    )


def judge(
    cells: Cells,
    verdicts: Verdicts | None,
    wanted: Wanted,
    sections: frozenset[str],
    *,
    minimum_effect: float,
    part: slice = slice(None),
) -> Judged:
    return Judged(
        effects=tuple(judge_effects(cells, wanted, part=part)) if "effects" in sections else (),
        verdict_effects=() if verdicts is None else tuple(judge_verdict_effects(verdicts, wanted)),
        outliers=judge_outliers(cells, minimum_effect=minimum_effect) if "outliers" in sections else NONE,
    )


def put_in_order(response: messages.GetFleetReportResponse) -> None:
    """What is real first, of that the worst."""
    response.effects.sort(
        key=lambda row: (*urgency(row.judgement), -abs(math.log(row.ratio.value)), row.package)
    )
    response.verdict_effects.sort(key=lambda row: (*urgency(row.judgement), row.p_value, row.check_name))
    response.outliers.sort(key=lambda row: (*urgency(row.judgement), -abs(math.log(row.ratio)), row.hostname))
    response.changes.sort(key=lambda row: (*urgency(row.judgement), -row.changed_at.seconds, row.hostname))


def urgency(judgement: messages.Judgement.ValueType) -> tuple[bool, bool]:
    return (judgement not in REAL, judgement != messages.JUDGEMENT_WORSE)
