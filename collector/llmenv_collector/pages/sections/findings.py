"""Findings: causes of trouble with machines and remedies, those acknowledged apart, and flaky checks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.pages.blocks import Block, Cell, Column, Paragraph, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.pages.wording import Wording


def section(
    rows: Sequence[messages.FindingRow], flaky: Sequence[messages.FlakyRow], wording: Wording
) -> Section:
    open_rows = [row for row in rows if not row.HasField("acknowledgement")]
    acknowledged = [row for row in rows if row.HasField("acknowledgement")]
    blocks: list[Block] = [Paragraph(wording.say("pages_findings.lead"), "lead")]
    if open_rows:
        blocks.append(table("findings-table", "table", open_rows, wording))
    else:
        blocks.append(Paragraph(wording.say("pages.nothing"), "note"))
    if acknowledged:
        blocks.append(table("acknowledged", "acknowledged", acknowledged, wording))
    if flaky:
        blocks.append(flaky_table(flaky, wording))
    return Section("findings", wording.say("pages_section.findings"), tuple(blocks))


def table(identity: str, caption: str, rows: Sequence[messages.FindingRow], wording: Wording) -> Table:
    is_acknowledged = caption == "acknowledged"
    last = "acknowledgement" if is_acknowledged else "first_seen"
    return Table(
        identity=identity,
        caption=wording.say(f"pages_findings.{caption}"),
        columns=(
            Column(wording.column("check")),
            Column(wording.column("status")),
            Column(wording.column("finding"), is_wide=True),
            Column(wording.column("machines"), is_number=True),
            Column(wording.column("remedy"), is_wide=True),
            Column(wording.column(last), is_number=not is_acknowledged, is_wide=is_acknowledged),
        ),
        rows=tuple(finding_row(row, wording) for row in rows),
    )


def finding_row(row: messages.FindingRow, wording: Wording) -> tuple[Cell, ...]:
    return (
        Cell(wording.check(row.check_name)),
        wording.status(row.status),
        Cell(wording.sentence(row.reason)),
        counted(row.hostnames, wording),
        Cell(wording.remedy(row.remedy_id) or "—"),
        acknowledgement(row, wording) if row.HasField("acknowledgement") else first_seen(row, wording),
    )


def counted(hostnames: Sequence[str], wording: Wording) -> Cell:
    """How many, and which."""
    return Cell(
        f"{len(hostnames)}",
        key=float(len(hostnames)),
        more=wording.unfolded(hostnames),
        more_label=wording.column("machines"),
    )


def first_seen(row: messages.FindingRow, wording: Wording) -> Cell:
    return wording.when(row.first_seen_at) if row.HasField("first_seen_at") else Cell("—", key=0.0)


def acknowledgement(row: messages.FindingRow, wording: Wording) -> Cell:
    known = row.acknowledgement
    said = wording.say(
        "pages_findings.acknowledgement",
        reason=known.reason,
        by=known.acknowledged_by,
        until=wording.moment(known.expires_at),
    )
    return Cell(said, key=float(known.expires_at.seconds))


def flaky_table(rows: Sequence[messages.FlakyRow], wording: Wording) -> Table:
    names = ("machine", "check", "changes", "verdicts", "environment", "device")
    return Table(
        identity="flaky",
        caption=wording.say("pages_findings.flaky"),
        columns=tuple(Column(wording.column(name), is_number=name == "changes") for name in names),
        rows=tuple(
            (
                wording.machine(row.machine_id, row.hostname),
                Cell(wording.check(row.check_name)),
                Cell(
                    wording.say("pages_findings.flaky_changes", changes=row.changes, results=row.results),
                    key=float(row.changes),
                ),
                Cell(wording.counts(row.status_counts)),
                Cell(row.environment_name),
                Cell(row.device),
            )
            for row in rows
        ),
    )
