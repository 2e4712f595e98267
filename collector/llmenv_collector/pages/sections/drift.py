"""Drift: versions in use against those wanted, and how runs with each version ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.pages.blocks import Block, Cell, Column, Fold, Paragraph, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.pages.wording import Wording


def section(
    drifts: Sequence[messages.DriftRow], packages: Sequence[messages.PackageRow], wording: Wording
) -> Section:
    blocks: list[Block] = [Paragraph(wording.say("pages_drift.lead"), "lead")]
    if not drifts and not packages:
        blocks.append(Paragraph(wording.say("pages.nothing"), "note"))
    if drifts:
        blocks.append(drift_table(drifts, wording))
    if packages:
        caption = wording.say("pages_drift.packages")
        blocks.append(Fold(caption, (package_table(packages, wording),), is_open=not drifts))
    return Section("drift", wording.say("pages_section.drift"), tuple(blocks))


def drift_table(rows: Sequence[messages.DriftRow], wording: Wording) -> Table:
    return Table(
        identity="drifts",
        caption=wording.say("pages_drift.table"),
        columns=(
            Column(wording.column("package")),
            Column(wording.column("wanted")),
            Column(wording.column("versions"), is_wide=True),
            Column(wording.column("differing"), is_wide=True),
            Column(wording.column("missing"), is_wide=True),
        ),
        rows=tuple(drift_row(row, wording) for row in rows),
    )


def drift_row(row: messages.DriftRow, wording: Wording) -> tuple[Cell, ...]:
    by_count = sorted(row.versions.items(), key=lambda pair: (-pair[1], pair[0]))
    spread = [wording.say("pages_drift.spread", version=version, count=count) for version, count in by_count]
    return (
        Cell(wording.package(row.package)),
        Cell(row.wanted or "—"),
        Cell(wording.listed(spread), key=float(len(spread))),
        wording.names(row.differing) if row.differing else Cell("—", key=0.0),
        wording.names(row.missing) if row.missing else Cell("—", key=0.0),
    )


def package_table(rows: Sequence[messages.PackageRow], wording: Wording) -> Table:
    return Table(
        identity="packages",
        caption=wording.say("pages_drift.packages"),
        columns=(
            Column(wording.column("package")),
            Column(wording.column("version")),
            Column(wording.column("machines"), is_number=True),
            Column(wording.column("verdicts")),
        ),
        rows=tuple(
            (
                Cell(wording.package(row.package)),
                Cell(row.version),
                Cell(f"{row.machines}", key=float(row.machines)),
                Cell(wording.counts(row.status_counts) or "—"),
            )
            for row in rows
        ),
    )
