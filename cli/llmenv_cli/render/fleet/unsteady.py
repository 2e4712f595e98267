"""Machines that throttle or whose figures do not settle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.sections.wording import title

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse


def unsteady(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """A row a machine and check, counts of results."""
    columns = (
        words.column("machine", texts, wraps=True),
        words.column("check", texts, wraps=True),
        words.column("declining", texts, is_number=True),
        words.column("unstable", texts, is_number=True),
        words.column("under_thermal_pressure", texts, is_number=True),
        words.column("of_results", texts, is_number=True),
        words.column("chip", texts, wraps=True, is_optional=True),
    )
    rows = [
        (
            row.hostname,
            title(row.check_name, texts),
            str(row.declining),
            str(row.unstable),
            str(row.under_thermal_pressure),
            str(row.results),
            words.variant(row.variant, texts),
        )
        for row in answer.unsteady
    ]
    note = (Paragraph(texts.say("fleet.unsteady_note")),) if rows else ()
    return Section(texts.say("fleet.unsteady"), (*note, *words.table(columns, rows, texts)))
