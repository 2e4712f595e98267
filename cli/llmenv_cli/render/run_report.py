"""The report of a run: everything for a document, the essence for a terminal, the same words in both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.texts import texts as texts_in

from llmenv_cli.render.blocks import Paragraph, Report, Section
from llmenv_cli.render.run_view import RunView
from llmenv_cli.render.sections.checks import detailed
from llmenv_cli.render.sections.conclusions import conclusions, next_steps, ready_for_use
from llmenv_cli.render.sections.header import header
from llmenv_cli.render.sections.issues import known_issues
from llmenv_cli.render.sections.memory import memory_advice, memory_analysis
from llmenv_cli.render.sections.packages import packages
from llmenv_cli.render.sections.summary import figures, key_findings, overview, readiness, summary

if TYPE_CHECKING:
    from llmenv.fleet.v1.run_pb2 import Run

WHOLE = (
    header,
    summary,
    key_findings,
    detailed,
    memory_analysis,
    memory_advice,
    packages,
    conclusions,
    known_issues,
    ready_for_use,
    next_steps,
)


def whole_report(run: Run, *, language: str) -> Report:
    """Every section."""
    view, texts = RunView(run), texts_in(language)
    return Report(texts.say("report.title"), tuple(section(view, texts) for section in WHOLE))


def short_report(run: Run, *, language: str) -> Report:
    """What fits a screen or two: the verdicts, the figures, and what to do."""
    view, texts = RunView(run), texts_in(language)
    ending = Section(
        texts.say("summary.overall"),
        (Paragraph(readiness(view, texts)), Paragraph(texts.say("report.more"))),
    )
    sections = (
        header(view, texts),
        overview(view, texts),
        figures(view, texts),
        next_steps(view, texts),
        ending,
    )
    return Report(texts.say("report.title"), tuple(section for section in sections if section.blocks))
