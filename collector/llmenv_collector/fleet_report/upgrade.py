"""May the fleet move to a version: safe, not safe, or not enough evidence, with the evidence.

Not safe: a measurement or a verdict got worse with all else equal, a check ceased to end well on
a machine that took it and nothing else, or a known issue of the version showed itself.  Safe: it
was tried on every chip variant, at least one measurement could be compared, and none may be worse by
more than the smallest effect that matters.  Otherwise there is not enough evidence, and the reasons
say of what: what got worse when other things changed as well may be due to those.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.fleet.v1 import fleet_report_pb2 as messages
from llmenv.fleet.v1 import result_pb2

from llmenv_collector import clock
from llmenv_collector.errors import UsageError
from llmenv_collector.fleet_report import coverage, method, period
from llmenv_collector.fleet_report.cells import lay_out_contexts, read_cells
from llmenv_collector.fleet_report.compared_sides import require_build
from llmenv_collector.fleet_report.effects import judge_effects
from llmenv_collector.fleet_report.exposure import Trial, join, rows_of
from llmenv_collector.fleet_report.hypotheses import settle
from llmenv_collector.fleet_report.inventory import read_inventory
from llmenv_collector.fleet_report.question import release_of
from llmenv_collector.fleet_report.steps import Wanted
from llmenv_collector.fleet_report.verdict_effects import judge_verdict_effects, read_verdicts
from llmenv_collector.fleet_report.versions import MACOS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import duckdb

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.cells import Cells
    from llmenv_collector.fleet_report.question import Question, Release
    from llmenv_collector.fleet_report.verdict_effects import Verdicts

HAS_IT = """
CREATE OR REPLACE TEMP TABLE run_with_release AS
SELECT DISTINCT run_no, machine_id, run_id FROM period_run
WHERE CASE WHEN $package = 'macos' THEN os_name = 'macOS' AND os_build = $version
      ELSE environment_id IN (
        SELECT environment_id FROM store.environment_package WHERE name = $package AND version = $version)
      END
"""
UNTRIED = """
SELECT DISTINCT chip, gpu_cores, memory_bytes FROM period_run EXCEPT
SELECT DISTINCT chip, gpu_cores, memory_bytes FROM period_run JOIN run_with_release USING (machine_id, run_id)
ORDER BY ALL
"""
TRIED_WITH_IT = """
WITH tried AS (
  SELECT result.machine_id, result.result_id, result.status, result.remedy_id, run.hostname
  FROM found_result AS result JOIN run_with_release USING (run_no) JOIN period_run AS run USING (run_no)
  WHERE run.device <> 'cpu'
)
SELECT machine_id::VARCHAR, any_value(hostname), remedy_id, true FROM (
  SELECT machine_id, hostname, status, remedy_id FROM tried
  UNION ALL
  SELECT machine_id, tried.hostname, part.status, part.remedy_id
  FROM tried JOIN store.result_case AS part USING (machine_id, result_id)
) WHERE remedy_id <> '' AND status NOT IN ('pass', 'skip', 'unknown') GROUP BY machine_id, remedy_id
"""


@dataclass(frozen=True)
class Answer:
    verdict: messages.UpgradeVerdict.ValueType
    reasons: tuple[result_pb2.Sentence, ...]


def check_upgrade(
    request: messages.CheckUpgradeRequest,
    connection: duckdb.DuckDBPyConnection,
    looked_at: period.Period,
    question: Question,
    analysis: Analysis,
) -> messages.CheckUpgradeResponse:
    """Raises UsageError for what is no version."""
    release = required(request.requirement)
    coverage.require_known(connection, looked_at.checks)
    period.lay_out(connection, looked_at)
    require_build(connection, release)
    period.lay_out_measurements(connection)
    lay_out_contexts(connection)
    connection.execute(HAS_IT, {"package": release.package, "version": release.version})
    wanted = Wanted(candidate=release, confidence=question.confidence, against_all=True)
    effects, verdict_effects = analysis.judge(
        judge_upgrade, read_cells(connection), read_verdicts(connection), wanted
    )
    tests = settle(
        [*effects, *verdict_effects],
        minimum_effect=question.minimum_effect,
        false_discovery_rate=question.false_discovery_rate,
    )
    exposures = exposures_of(connection, looked_at, release)
    untried = [
        messages.Variant(chip=chip, gpu_cores=gpu_cores, memory_bytes=memory_bytes)
        for chip, gpu_cores, memory_bytes in connection.execute(UNTRIED).fetchall()
    ]
    answer = answered(
        effects, verdict_effects, exposures, untried=len(untried), minimum_effect=question.minimum_effect
    )
    return messages.CheckUpgradeResponse(
        generated_at=clock.to_timestamp(clock.now()),
        verdict=answer.verdict,
        reasons=answer.reasons,
        effects=effects,
        verdict_effects=verdict_effects,
        exposures=exposures,
        untried=untried,
        method=method.method(connection, question, tests=tests),
    )


def required(requirement: str) -> Release:
    release = release_of(requirement)
    if release is None:
        raise UsageError("Say which version, as in torch==2.11.0.")
    return release


def judge_upgrade(
    cells: Cells, verdicts: Verdicts, wanted: Wanted
) -> tuple[list[messages.EffectRow], list[messages.VerdictEffectRow]]:
    return judge_effects(cells, wanted), judge_verdict_effects(verdicts, wanted)


def exposures_of(
    connection: duckdb.DuckDBPyConnection, looked_at: period.Period, release: Release
) -> list[messages.ExposureRow]:
    """Known issues of the version on the machines that have the package, had they all moved to it."""
    packages = {name for issue in known_issues.catalogue().values() for name in issue.versions}
    moved = [
        dataclasses.replace(one, versions={**one.versions, release.package: release.version})
        for one in read_inventory(connection, looked_at, packages=packages | {release.package})
        if release.package in one.versions
    ]
    trials = [Trial(*row) for row in connection.execute(TRIED_WITH_IT).fetchall()]
    of_it = {
        issue_id: found
        for issue_id, found in join(moved, trials).items()
        if (issue := known_issues.find(issue_id)) is not None and release.package in issue.versions
    }
    return rows_of(of_it)


def answered(
    effects: Sequence[messages.EffectRow],
    verdict_effects: Sequence[messages.VerdictEffectRow],
    exposures: Sequence[messages.ExposureRow],
    *,
    untried: int,
    minimum_effect: float,
) -> Answer:
    against = [*worse(effects, verdict_effects), *shown(exposures)]
    if against:
        return Answer(messages.UPGRADE_VERDICT_NOT_SAFE, tuple(against))
    lacking = [
        *what_is_lacking(effects, untried=untried, minimum_effect=minimum_effect),
        *whose_is_open(effects, verdict_effects),
    ]
    if lacking:
        return Answer(messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE, tuple(lacking))
    return Answer(
        messages.UPGRADE_VERDICT_SAFE,
        (
            sentence(
                "It was tried on every chip variant, and none of {count} comparisons may be worse"
                " by more than {percent} %.",
                count=len(effects),
                percent=f"{minimum_effect * 100:g}",
            ),
        ),
    )


def worse(
    effects: Sequence[messages.EffectRow], verdict_effects: Sequence[messages.VerdictEffectRow]
) -> Iterator[result_pb2.Sentence]:
    slower = sum(row.judgement == messages.JUDGEMENT_WORSE and not row.confounded_with for row in effects)
    if slower:
        yield sentence("{count} comparisons of measurements got worse.", count=slower)
    for row in verdict_effects:
        if fails_more(row) and not row.confounded_with:
            yield sentence(
                "{check} does not end well on {failing} of {machines} machines,"
                " before on {before} of {others}.",
                check=row.check_name,
                failing=row.candidate_failing,
                machines=row.candidate_machines,
                before=row.baseline_failing,
                others=row.baseline_machines,
            )


def fails_more(row: messages.VerdictEffectRow) -> bool:
    """One machine that a check ceased to end well on is enough, where it is compared with itself."""
    newly = row.candidate_failing * row.baseline_machines > row.baseline_failing * row.candidate_machines
    is_with_itself = row.pairing == messages.PAIRING_WITHIN_MACHINE
    return row.judgement == messages.JUDGEMENT_WORSE or (newly and is_with_itself)


def shown(exposures: Sequence[messages.ExposureRow]) -> Iterator[result_pb2.Sentence]:
    for row in exposures:
        if row.reproduced:
            yield sentence(
                "The known issue {issue} showed itself on {count} machines with this version.",
                issue=row.issue_id,
                count=len(row.reproduced),
            )


def what_is_lacking(
    effects: Sequence[messages.EffectRow], *, untried: int, minimum_effect: float
) -> Iterator[result_pb2.Sentence]:
    if untried:
        yield sentence("Nobody has tried it on {count} chip variants of the fleet.", count=untried)
    if not effects:
        yield sentence("No measurement of it can be compared with another version, all else equal.")
    unclear = sum(may_be_worse(row, minimum_effect) for row in effects)
    if unclear:
        yield sentence(
            "{count} of {total} comparisons may still be worse by more than {percent} %.",
            count=unclear,
            total=len(effects),
            percent=f"{minimum_effect * 100:g}",
        )


def whose_is_open(
    effects: Sequence[messages.EffectRow], verdict_effects: Sequence[messages.VerdictEffectRow]
) -> Iterator[result_pb2.Sentence]:
    """What got worse on machines that took something else along with it."""
    slower = [row.confounded_with for row in effects if row.judgement == messages.JUDGEMENT_WORSE]
    failing = [row.confounded_with for row in verdict_effects if fails_more(row)]
    along = [others for others in (*slower, *failing) if others]
    if along:
        names = sorted({name for others in along for name in others})
        yield sentence(
            "{count} comparisons got worse where {others} changed as well: it may be their effect.",
            count=len(along),
            others=", ".join("macOS" if name == MACOS else name for name in names),
        )


def may_be_worse(row: messages.EffectRow, minimum_effect: float) -> bool:
    """Whether its interval reaches beyond the smallest effect that matters in the worse direction."""
    if row.judgement in {messages.JUDGEMENT_BETTER, messages.JUDGEMENT_SAME}:
        return False
    if row.series.direction == result_pb2.DIRECTION_HIGHER_IS_BETTER:
        return row.ratio.low < 1 / (1 + minimum_effect)
    if row.series.direction == result_pb2.DIRECTION_LOWER_IS_BETTER:
        return row.ratio.high > 1 + minimum_effect
    return False


def sentence(template: str, **values: object) -> result_pb2.Sentence:
    shown_values = {name: str(value) for name, value in values.items()}
    return result_pb2.Sentence(text=template.format(**shown_values), template=template, values=shown_values)
