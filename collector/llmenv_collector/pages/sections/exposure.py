"""Exposure: known issues against what is installed and what was tried."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.known_issues import SEVERITIES

from llmenv_collector.pages.blocks import Block, Cell, Column, Paragraph, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.pages.wording import Wording


def section(rows: Sequence[messages.ExposureRow], machines: int, wording: Wording) -> Section:
    """`machines` is how many there are; 0 where that does not matter."""
    blocks: list[Block] = [Paragraph(wording.say("pages_exposure.lead"), "lead")]
    if rows:
        blocks.append(table(rows, machines, wording))
    else:
        blocks.append(Paragraph(wording.say("pages.nothing"), "note"))
    return Section("exposure", wording.say("pages_section.exposure"), tuple(blocks))


def table(rows: Sequence[messages.ExposureRow], machines: int, wording: Wording) -> Table:
    return Table(
        identity="exposures",
        caption=wording.say("pages_exposure.table"),
        columns=(
            Column(wording.column("issue"), is_wide=True),
            Column(wording.column("severity")),
            Column(wording.column("exposed"), is_number=True),
            Column(wording.column("reproduced"), is_number=True),
            Column(wording.column("not_reproduced"), is_number=True),
            Column(wording.column("versions")),
            Column(wording.column("remedy"), is_wide=True),
        ),
        rows=tuple(exposure_row(row, machines, wording) for row in rows),
    )


def exposure_row(row: messages.ExposureRow, machines: int, wording: Wording) -> tuple[Cell, ...]:
    issue = wording.issue(row.issue_id)
    title = f"{row.issue_id}: {wording.texts.pick(issue.title)}" if issue else row.issue_id
    count = len(row.exposed)
    exposed = (
        wording.say("pages_exposure.exposed_of", count=count, machines=machines) if machines else f"{count}"
    )
    return (
        Cell(title, href=issue.url if issue and issue.url.startswith("https://") else ""),
        severity(issue.severity, wording) if issue else Cell("—", key=0.0),
        unfolded(exposed, row.exposed, wording),
        tried(row.reproduced, row, wording),
        tried(row.not_reproduced, row, wording),
        Cell(wording.listed(row.versions)),
        Cell(wording.texts.pick(issue.remedy) if issue else "—"),
    )


def severity(word: str, wording: Wording) -> Cell:
    """The most severe is sorted first."""
    return Cell(wording.say(f"severity.{word}"), key=-float(SEVERITIES.index(word)))


def tried(hostnames: Sequence[str], row: messages.ExposureRow, wording: Wording) -> Cell:
    """Never a zero where nobody tried."""
    if not row.reproduced and not row.not_reproduced:
        return Cell(wording.say("pages_exposure.untried"), key=-1.0)
    return unfolded(f"{len(hostnames)}", hostnames, wording)


def unfolded(said: str, hostnames: Sequence[str], wording: Wording) -> Cell:
    names = wording.unfolded(hostnames)
    return Cell(said, key=float(len(hostnames)), more=names, more_label=wording.column("machines"))
