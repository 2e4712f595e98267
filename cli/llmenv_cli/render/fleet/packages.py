"""Versions in use, and how runs with each went."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.flaky import counted

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse


def packages(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """Packages with several versions; those with one alone are counted."""
    columns = (
        words.column("package", texts),
        words.column("version", texts),
        words.column("machines", texts, is_number=True),
        words.column("statuses", texts, wraps=True),
    )
    versions = Counter(row.package for row in answer.packages)
    rows = [
        (row.package, row.version, str(row.machines), counted(row.status_counts, texts))
        for row in answer.packages
        if versions[row.package] > 1
    ]
    single = [f"{row.package} {row.version}" for row in answer.packages if versions[row.package] == 1]
    blocks = list(words.table(columns, rows, texts))
    if single:
        named = words.names(single, texts, most=words.MOST_ROWS)
        blocks.append(Paragraph(texts.say("fleet.packages_single", packages=named)))
    return Section(texts.say("fleet.packages"), tuple(blocks))
