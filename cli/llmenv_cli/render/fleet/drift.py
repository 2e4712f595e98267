"""Versions in use against those wanted: which machines differ, and where a package is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import DriftRow, GetFleetReportResponse

    from llmenv_cli.render.blocks import Block


def drift(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """What differs; packages that are as wanted are counted."""
    return Section(texts.say("fleet.drift"), tuple(_blocks(answer, texts)))


def _blocks(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    columns = (
        words.column("package", texts),
        words.column("wanted", texts, wraps=True),
        words.column("in_use", texts, wraps=True),
        words.column("differing", texts, wraps=True),
        words.column("missing", texts, wraps=True),
    )
    drifted = [row for row in answer.drifts if row.differing or row.missing]
    yield from words.table(columns, [_cells(row, texts) for row in drifted], texts)
    if len(answer.drifts) > len(drifted):
        yield Paragraph(texts.say("fleet.drift_same", count=len(answer.drifts) - len(drifted)))


def _cells(row: DriftRow, texts: Texts) -> tuple[str, ...]:
    frequent = sorted(row.versions.items(), key=lambda version: (-version[1], version[0]))
    in_use = (texts.say("fleet.drift_count", version=name, count=count) for name, count in frequent)
    return (
        row.package,
        row.wanted,
        words.names(in_use, texts),
        words.names(row.differing, texts),
        words.names(row.missing, texts),
    )
