"""The whole report: what to do first, then what it is based on, then a section a question."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.texts import texts as texts_in
from llmenv.fleet.v1.fleet_report_pb2 import (
    AXIS_CHECK,
    AXIS_CHIP,
    AXIS_MACHINE,
    AXIS_MACOS,
    AXIS_PACKAGE,
    AXIS_UNSPECIFIED,
)

from llmenv_cli.render.blocks import Report, Section
from llmenv_cli.render.fleet.changes import changes, verdict_changes
from llmenv_cli.render.fleet.chips import chips
from llmenv_cli.render.fleet.coverage import coverage
from llmenv_cli.render.fleet.drift import drift
from llmenv_cli.render.fleet.effects import effects
from llmenv_cli.render.fleet.exposure import exposures
from llmenv_cli.render.fleet.findings import findings
from llmenv_cli.render.fleet.flaky import flaky
from llmenv_cli.render.fleet.health import health
from llmenv_cli.render.fleet.method import explanations, method
from llmenv_cli.render.fleet.outliers import outliers
from llmenv_cli.render.fleet.packages import packages
from llmenv_cli.render.fleet.todo import todo
from llmenv_cli.render.fleet.unsteady import unsteady
from llmenv_cli.render.fleet.verdict_effects import verdict_effects

if TYPE_CHECKING:
    from llmenv.fleet.v1.fleet_report_pb2 import Axis, GetFleetReportResponse

# Sections by the axis that they compare along, as the contract says.
ASKED = {
    AXIS_MACHINE: ("health", "outliers", "unsteady", "changes", "verdict_changes"),
    AXIS_CHIP: ("chips",),
    AXIS_PACKAGE: ("effects", "verdict_effects", "exposures", "drifts"),
    AXIS_MACOS: ("effects", "verdict_effects"),
    AXIS_CHECK: ("findings", "flaky"),
}
EVERYTHING = (
    "health",
    "findings",
    "flaky",
    "chips",
    "effects",
    "verdict_effects",
    "outliers",
    "unsteady",
    "changes",
    "verdict_changes",
    "exposures",
    "drifts",
)


def fleet_report(
    answer: GetFleetReportResponse, *, language: str, by: Axis.ValueType = AXIS_UNSPECIFIED
) -> Report:
    """Sections without a row are left out, and the section on method names those that were asked for."""
    texts = texts_in(language)
    empty = [texts.say(f"section.{name}") for name in ASKED.get(by, EVERYTHING) if not getattr(answer, name)]
    sections = (
        todo(answer, by, texts),
        coverage(answer, texts),
        health(answer, texts),
        findings(answer, texts),
        flaky(answer, texts),
        verdict_changes(answer, texts),
        verdict_effects(answer.verdict_effects, texts),
        effects(answer.effects, answer.method, texts),
        changes(answer, texts),
        outliers(answer, texts),
        unsteady(answer, texts),
        chips(answer, by, texts),
        packages(answer, texts),
        exposures(answer.exposures, machines=answer.coverage.machines, texts=texts),
        drift(answer, texts),
        method(answer.method, texts, empty=empty, knows_changes=by in {AXIS_UNSPECIFIED, AXIS_MACHINE}),
        explanations(answer.explanations, texts),
    )
    return Report(texts.say("fleet.report_title"), tuple(filter(_says_something, sections)))


def _says_something(section: Section) -> bool:
    return bool(section.blocks or section.subsections)
