"""The fleet report as a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.texts import texts as texts_in

from llmenv_collector.pages import html
from llmenv_collector.pages.wording import Wording

if TYPE_CHECKING:
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse


def render(answer: GetFleetReportResponse, *, language: str) -> str:
    """One self-contained file."""
    return html.render("fleet.html.j2", language=language, answer=answer, wording=Wording(texts_in(language)))
