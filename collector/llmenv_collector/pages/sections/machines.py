"""Machines unlike the others of their cohort, and machines whose figures do not settle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.pages import figures
from llmenv_collector.pages.blocks import Block, Cell, Column, Paragraph, Section, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.pages.wording import Wording

FIRST_VERSIONS = ("macos", "mlx", "torch")
"""Of those that a cohort has in common, what is shown before the others unfold."""


def section(
    outliers: Sequence[messages.OutlierRow], unsteady: Sequence[messages.UnsteadyRow], wording: Wording
) -> Section:
    blocks: list[Block] = [Paragraph(wording.say("pages_machines.lead"), "lead")]
    if not outliers and not unsteady:
        blocks.append(Paragraph(wording.say("pages.nothing"), "note"))
    if outliers:
        blocks.append(outlier_table(outliers, wording))
    if unsteady:
        blocks.append(unsteady_table(unsteady, wording))
    return Section("machines", wording.say("pages_section.machines"), tuple(blocks))


def outlier_table(rows: Sequence[messages.OutlierRow], wording: Wording) -> Table:
    return Table(
        identity="outliers",
        caption=wording.say("pages_machines.outliers"),
        columns=(
            Column(wording.column("machine")),
            Column(wording.column("difference"), is_number=True),
            Column(wording.column("judgement")),
            Column(wording.column("measurement")),
            Column(wording.column("chip")),
            Column(wording.column("q_value"), is_number=True),
            Column(wording.column("versions")),
        ),
        rows=tuple(outlier_row(row, wording) for row in rows),
    )


def outlier_row(row: messages.OutlierRow, wording: Wording) -> tuple[Cell, ...]:
    ranked = sorted(row.versions.items(), key=lambda pair: (pair[0] not in FIRST_VERSIONS, pair[0]))
    versions = [f"{wording.package(name)} {version}" for name, version in ranked]
    return (
        wording.machine(row.machine_id, row.hostname),
        Cell(
            wording.say("pages_machines.compared", percent=figures.percent(row.ratio), others=row.others),
            key=row.ratio,
        ),
        wording.judgement(row.judgement),
        Cell(wording.series_of_check(row.series)),
        Cell(wording.variant(row.variant)),
        Cell(figures.probability(row.q_value), key=row.q_value),
        wording.names(versions) if versions else Cell("—", key=0.0),
    )


def unsteady_table(rows: Sequence[messages.UnsteadyRow], wording: Wording) -> Table:
    numbers = ("declining", "unstable", "thermal")
    return Table(
        identity="unsteady",
        caption=wording.say("pages_machines.unsteady"),
        columns=(
            Column(wording.column("machine")),
            Column(wording.column("check")),
            *(Column(wording.column(name), is_number=True) for name in numbers),
            Column(wording.column("chip")),
        ),
        rows=tuple(unsteady_row(row, wording) for row in rows),
    )


def unsteady_row(row: messages.UnsteadyRow, wording: Wording) -> tuple[Cell, ...]:
    counts = (row.declining, row.unstable, row.under_thermal_pressure)
    return (
        wording.machine(row.machine_id, row.hostname),
        Cell(wording.check(row.check_name)),
        *(
            Cell(wording.say("pages_machines.of_results", count=count, results=row.results), key=float(count))
            for count in counts
        ),
        Cell(wording.variant(row.variant)),
    )
