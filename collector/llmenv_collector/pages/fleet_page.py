"""The fleet report as a page: what `--format html` saves and what the live page shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.fleet_report import report
from llmenv_collector.fleet_report.question import SECTIONS
from llmenv_collector.pages import report_file
from llmenv_collector.pages.report_file import LiveReport
from llmenv_collector.pages.sections import (
    changes,
    chips,
    coverage,
    drift,
    effects,
    exposure,
    findings,
    health,
    machines,
    method,
    todo,
)
from llmenv_collector.pages.traces import read_traces
from llmenv_collector.pages.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    import duckdb
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse

    from llmenv_collector.fleet_report.analysis import Analysis
    from llmenv_collector.fleet_report.period import Period
    from llmenv_collector.fleet_report.question import Question
    from llmenv_collector.pages.blocks import Section
    from llmenv_collector.pages.report_file import Frame
    from llmenv_collector.plot.time_series import Point

EVERYTHING = frozenset(SECTIONS)


def answer(
    language: str,
    connection: duckdb.DuckDBPyConnection,
    period: Period,
    question: Question,
    analysis: Analysis,
    *,
    frame: Frame | None = None,
) -> LiveReport:
    """The page of a question, of one state of the database."""
    found = report.fleet_report(connection, period, question, analysis)
    traces = read_traces(connection, found.changes)
    return made(found, language=language, asked=question.sections, traces=traces, frame=frame)


def render(
    found: GetFleetReportResponse,
    *,
    language: str,
    asked: Collection[str] = EVERYTHING,
    traces: Mapping[int, Sequence[Point]] | None = None,
    frame: Frame | None = None,
) -> str:
    """One self-contained file, or a live page where there is a frame."""
    return made(found, language=language, asked=asked, traces=traces, frame=frame).page


def made(
    found: GetFleetReportResponse,
    *,
    language: str,
    asked: Collection[str] = EVERYTHING,
    traces: Mapping[int, Sequence[Point]] | None = None,
    frame: Frame | None = None,
) -> LiveReport:
    """`asked` names the fields of the report that were asked for: the others are left out, not empty.
    `traces` are the points of changes, by their place in the report.
    """
    wording = Wording(language, is_live=frame is not None)
    title = wording.say("pages.title")
    parts = tuple(sections(found, wording, asked, traces or {}))
    page = report_file.render(
        wording,
        title=title,
        subtitle=subtitle_of(found, wording),
        generated_at=found.generated_at,
        sections=parts,
        frame=frame,
    )
    return LiveReport(page, report_file.version_of(title, parts))


def subtitle_of(found: GetFleetReportResponse, wording: Wording) -> str:
    covered = found.coverage
    as_of = wording.moment(covered.as_of if covered.HasField("as_of") else found.generated_at)
    if not covered.HasField("since"):
        return wording.say("pages.whole_history", as_of=as_of)
    return wording.say("pages.period", since=wording.moment(covered.since), as_of=as_of)


def sections(
    found: GetFleetReportResponse,
    wording: Wording,
    asked: Collection[str],
    traces: Mapping[int, Sequence[Point]],
) -> Iterator[Section]:
    yield coverage.section(found, wording, asked)
    if "findings" in asked:
        yield todo.section(found, wording)
    if "health" in asked:
        yield health.section(found.health, wording)
    if "findings" in asked:
        yield findings.section(found.findings, found.flaky, wording)
    if "chips" in asked:
        yield chips.section(found.chips, found.method, wording)
    if "effects" in asked:
        yield effects.section(found.effects, found.verdict_effects, found.method, wording)
    if "outliers" in asked:
        yield machines.section(found.outliers, found.unsteady, wording)
    if "changes" in asked:
        yield changes.section(found, traces, wording)
    if "exposures" in asked:
        yield exposure.section(found.exposures, found.coverage.machines, wording)
    if "drifts" in asked:
        yield drift.section(found.drifts, found.packages, wording)
    yield method.section(found.method, wording, explanations=found.explanations)
