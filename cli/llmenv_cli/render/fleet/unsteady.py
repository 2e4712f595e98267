"""Machines that throttle or whose figures do not settle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.sections.wording import title

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse, UnsteadyRow


def unsteady(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """A row a machine, counts of results over its checks."""
    columns = (
        words.column("machine", texts, wraps=True),
        words.column("declining", texts, is_number=True),
        words.column("unstable", texts, is_number=True),
        words.column("under_thermal_pressure", texts, is_number=True),
        words.column("of_results", texts, is_number=True),
        words.column("checks", texts, wraps=True),
        words.column("chip", texts, wraps=True, is_optional=True),
    )
    machines: dict[str, list[UnsteadyRow]] = {}
    for row in answer.unsteady:
        machines.setdefault(row.machine_id, []).append(row)
    rows = [_cells(of_machine, texts) for of_machine in machines.values()]
    note = (Paragraph(texts.say("fleet.unsteady_note")),) if rows else ()
    return Section(texts.say("fleet.unsteady"), (*note, *words.table(columns, rows, texts)))


def _cells(rows: list[UnsteadyRow], texts: Texts) -> tuple[str, ...]:
    return (
        rows[0].hostname,
        numbers.count(sum(row.declining for row in rows)),
        numbers.count(sum(row.unstable for row in rows)),
        numbers.count(sum(row.under_thermal_pressure for row in rows)),
        numbers.count(sum(row.results for row in rows)),
        words.names((title(row.check_name, texts) for row in rows), texts, most=3),
        words.variant(rows[0].variant, texts),
    )
