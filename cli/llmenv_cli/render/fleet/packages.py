"""Versions in use, and how runs with each went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.flaky import counted

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse


def packages(answer: GetFleetReportResponse, texts: Texts) -> Section:
    columns = (
        words.column("package", texts),
        words.column("version", texts),
        words.column("machines", texts, is_number=True),
        words.column("statuses", texts, wraps=True),
    )
    rows = [
        (row.package, row.version, str(row.machines), counted(row.status_counts, texts))
        for row in answer.packages
    ]
    return Section(texts.say("fleet.packages"), tuple(words.table(columns, rows, texts)))
