"""What a fleet report amounts to: what is wrong, what became worse, and what it could not say.

The exit code, the list of what to do and the JUnit report judge by these functions, so that they agree.
A failure counts until somebody has taken note of it; the note counts until it expires.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS
from llmenv.fleet.v1.fleet_report_pb2 import (
    AXIS_MACHINE,
    AXIS_UNSPECIFIED,
    JUDGEMENT_WORSE,
    UPGRADE_VERDICT_NOT_SAFE,
    UPGRADE_VERDICT_SAFE,
)

from llmenv_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import (
        Axis,
        CheckUpgradeResponse,
        CompareFleetResponse,
        EffectRow,
        FindingRow,
        GetFleetReportResponse,
        HealthRow,
        Method,
        VerdictEffectRow,
    )
    from llmenv.fleet.v1.result_pb2 import Sentence

# Hostname, check and status word.
Verdicts = tuple[str, str, str]
FAILING = frozenset({"fail", "error", "timeout", "crash"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verdict:
    """The exit code, and a sentence for each thing that led to it."""

    code: ExitCode
    reasons: tuple[str, ...] = ()


def is_acknowledged(finding: FindingRow, answer: GetFleetReportResponse) -> bool:
    """Whether somebody took note of it, and the note had not expired at the report's time."""
    if not finding.HasField("acknowledgement"):
        return False
    until = finding.acknowledgement.expires_at
    at = answer.coverage.as_of if answer.coverage.HasField("as_of") else answer.generated_at
    return until.ToNanoseconds() > at.ToNanoseconds()


def open_findings(answer: GetFleetReportResponse) -> list[FindingRow]:
    return [finding for finding in answer.findings if not is_acknowledged(finding, answer)]


def acknowledged_findings(answer: GetFleetReportResponse) -> list[FindingRow]:
    return [finding for finding in answer.findings if is_acknowledged(finding, answer)]


def failing(answer: GetFleetReportResponse) -> list[FindingRow]:
    """Checks that do not end well, without a valid acknowledgement."""
    return [finding for finding in open_findings(answer) if WORDS.get(finding.status) in FAILING]


def excused(answer: GetFleetReportResponse) -> frozenset[Verdicts]:
    """Verdicts of which somebody took note, whatever their cause on that machine."""
    return frozenset(_verdicts(acknowledged_findings(answer)) - _verdicts(open_findings(answer)))


def blocking(row: HealthRow, excused_verdicts: frozenset[Verdicts]) -> dict[str, str]:
    """Core checks that keep it from being ready, but for those that somebody took note of."""
    return {
        check: word
        for check, word in row.readiness.blocking.items()
        if (row.hostname, check, word) not in excused_verdicts
    }


def verdict_words(row: HealthRow) -> dict[str, str]:
    """Status word by check; core checks that never ran there are unknown."""
    executed = {name: WORDS.get(status, "unknown") for name, status in row.statuses.items()}
    return dict(sorted((dict(row.readiness.blocking) | executed).items()))


def report_verdict(answer: GetFleetReportResponse, *, by: Axis.ValueType, texts: Texts) -> Verdict:
    """1 for what is wrong or worse, else 4 for what could not be said, else 0."""
    wrong, partial = tuple(_wrong(answer, texts)), tuple(_partial(answer, by, texts))
    return _verdict(wrong, partial)


def comparison_verdict(answer: CompareFleetResponse, *, sides: tuple[str, str], texts: Texts) -> Verdict:
    """1 when the candidate is worse in something, 4 when nothing could be compared."""
    worse = len(_worse(answer))
    wrong = (
        (texts.say("regression.compare", baseline=sides[0], candidate=sides[1], count=worse),)
        if worse
        else ()
    )
    nothing = not (answer.effects or answer.verdict_effects)
    partial = [texts.say("partial.compare")] if nothing else []
    partial += list(_cuts(answer.method, texts))
    return _verdict(wrong, tuple(partial))


def upgrade_verdict(answer: CheckUpgradeResponse, *, texts: Texts) -> Verdict:
    """0 for safe, 1 for not safe, 4 where neither can be said."""
    if answer.verdict == UPGRADE_VERDICT_SAFE:
        return Verdict(code=ExitCode.FINE)
    if answer.verdict == UPGRADE_VERDICT_NOT_SAFE:
        return Verdict(code=ExitCode.NOT_READY, reasons=(texts.say("regression.upgrade"),))
    return Verdict(code=ExitCode.PARTIAL, reasons=(texts.say("partial.upgrade"),))


def _verdict(wrong: tuple[str, ...], partial: tuple[str, ...]) -> Verdict:
    code = ExitCode.NOT_READY if wrong else ExitCode.PARTIAL if partial else ExitCode.FINE
    return Verdict(code=code, reasons=wrong + partial)


def _worse(answer: GetFleetReportResponse | CompareFleetResponse) -> list[EffectRow | VerdictEffectRow]:
    rows: list[EffectRow | VerdictEffectRow] = [*answer.effects, *answer.verdict_effects]
    return [row for row in rows if row.judgement == JUDGEMENT_WORSE]


def _verdicts(findings: list[FindingRow]) -> set[Verdicts]:
    return {
        (hostname, finding.check_name, WORDS.get(finding.status, "unknown"))
        for finding in findings
        for hostname in finding.hostnames
    }


def _wrong(answer: GetFleetReportResponse, texts: Texts) -> Iterator[str]:
    from llmenv_cli.render.fleet.words import names, place, versions
    from llmenv_cli.render.sections.wording import title

    noted = excused(answer)
    not_ready = [place(row, texts) for row in answer.health if blocking(row, noted)]
    if not_ready:
        yield texts.say("regression.not_ready", places=names(not_ready, texts))
    checks = [title(finding.check_name, texts) for finding in failing(answer)]
    if checks:
        yield texts.say("regression.failing", checks=names(checks, texts))
    effects = _worse(answer)
    if effects:
        changed = names((versions(row, texts) for row in effects), texts)
        yield texts.say("regression.effects", versions=changed)
    outliers = [row.hostname for row in answer.outliers if row.judgement == JUDGEMENT_WORSE]
    if outliers:
        yield texts.say("regression.outliers", machines=names(outliers, texts))
    changes = [
        row.hostname for row in answer.changes if row.judgement == JUDGEMENT_WORSE and not row.is_suspected
    ]
    if changes:
        yield texts.say("regression.changes", machines=names(changes, texts))


def is_cut(limit: Sentence) -> bool:
    """Whether a limit left out a part of a section; others say what was asked or how old it is."""
    return "section" in limit.values


def _cuts(method: Method, texts: Texts) -> Iterator[str]:
    for limit in method.limits:
        if is_cut(limit):
            yield texts.say("partial.limit", limit=texts.sentence(limit))


def _partial(answer: GetFleetReportResponse, by: Axis.ValueType, texts: Texts) -> Iterator[str]:
    from llmenv_cli.render.fleet.words import names

    silent = [machine.hostname for machine in answer.coverage.silent]
    if not (answer.coverage.machines or answer.coverage.reporting):
        yield texts.say("partial.no_machine")
    elif not answer.coverage.reporting:
        yield texts.say("partial.nobody")
    elif silent:
        yield texts.say("partial.silent", count=len(silent), machines=names(silent, texts))
    overdue = [machine.hostname for machine in answer.coverage.overdue]
    if overdue:
        yield texts.say("partial.overdue", count=len(overdue), machines=names(overdue, texts))
    yield from _cuts(answer.method, texts)
    asks_for_changes = by in {AXIS_UNSPECIFIED, AXIS_MACHINE}
    if asks_for_changes and answer.coverage.reporting and not answer.method.HasField("changes_analysed_at"):
        yield texts.say("partial.changes")
