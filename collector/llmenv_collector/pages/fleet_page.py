"""The fleet report as a page."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from llmenv_collector.fleet_report.question import SECTIONS
from llmenv_collector.pages import html
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
)
from llmenv_collector.pages.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse

    from llmenv_collector.pages.blocks import Section
    from llmenv_collector.plot.time_series import Point

EVERYTHING = frozenset(SECTIONS)


def render(
    answer: GetFleetReportResponse,
    *,
    language: str,
    asked: Collection[str] = EVERYTHING,
    traces: Mapping[int, Sequence[Point]] | None = None,
) -> str:
    """One self-contained file.

    `asked` names the fields of the answer that were asked for: the others are left out, not empty.
    `traces` are the points of changes, by their place in the answer.
    """
    wording = Wording(language)
    return html.render(
        "fleet.html.j2",
        language=language,
        title=wording.say("pages.title"),
        subtitle=period(answer, wording),
        generated=wording.say("pages.generated", moment=wording.moment(answer.generated_at)),
        version=wording.say("pages.version", version=importlib.metadata.version("llmenv")),
        sections=tuple(sections(answer, wording, asked, traces or {})),
    )


def period(answer: GetFleetReportResponse, wording: Wording) -> str:
    covered = answer.coverage
    as_of = wording.moment(covered.as_of if covered.HasField("as_of") else answer.generated_at)
    if not covered.HasField("since"):
        return wording.say("pages.whole_history", as_of=as_of)
    return wording.say("pages.period", since=wording.moment(covered.since), as_of=as_of)


def sections(
    answer: GetFleetReportResponse,
    wording: Wording,
    asked: Collection[str],
    traces: Mapping[int, Sequence[Point]],
) -> Iterator[Section]:
    yield coverage.section(answer, wording, asked)
    if "health" in asked:
        yield health.section(answer.health, wording)
    if "findings" in asked:
        yield findings.section(answer.findings, answer.flaky, wording)
    if "chips" in asked:
        yield chips.section(answer.chips, answer.method, wording)
    if "effects" in asked:
        yield effects.section(answer.effects, answer.verdict_effects, answer.method, wording)
    if "outliers" in asked:
        yield machines.section(answer.outliers, answer.unsteady, wording)
    if "changes" in asked:
        yield changes.section(answer, traces, wording)
    if "exposures" in asked:
        yield exposure.section(answer.exposures, answer.coverage.machines, wording)
    if "drifts" in asked:
        yield drift.section(answer.drifts, answer.packages, wording)
    yield method.section(answer, wording)
