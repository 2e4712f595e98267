"""What the report is based on: the figures that a reader takes in first, and the machines that are silent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.pages.blocks import Block, Cell, Column, Paragraph, Section, Table, Tile, Tiles
from llmenv_collector.pages.real_differences import causes_of
from llmenv_collector.pages.wording import moment_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from llmenv_collector.pages.wording import Wording


def section(answer: messages.GetFleetReportResponse, wording: Wording, asked: Collection[str]) -> Section:
    title = wording.say("pages_section.coverage")
    return Section("coverage", title, tuple(blocks(answer, wording, asked)))


def blocks(
    answer: messages.GetFleetReportResponse, wording: Wording, asked: Collection[str]
) -> Iterator[Block]:
    yield Tiles(tuple(tiles(answer, wording, asked)))
    yield Paragraph(based_on(answer.coverage, wording))
    if answer.coverage.pending:
        yield Paragraph(wording.say("pages_coverage.pending", count=answer.coverage.pending), "note")
    if answer.coverage.silent:
        yield silent_machines(answer.coverage, wording)
    if answer.coverage.overdue:
        yield overdue_machines(answer.coverage, wording)


def tiles(
    answer: messages.GetFleetReportResponse, wording: Wording, asked: Collection[str]
) -> Iterator[Tile]:
    """Only of sections that were asked for: an absent one is not a zero."""
    covered = answer.coverage
    yield Tile(
        wording.say("pages_tile.reporting_of", reporting=covered.reporting, machines=covered.machines),
        wording.say("pages_tile.reporting"),
        tone="" if covered.reporting == covered.machines and not covered.overdue else "caution",
    )
    if "health" in asked:
        ready = sum(row.readiness.is_ready for row in answer.health)
        yield Tile(
            wording.say("pages_tile.ready_of", ready=ready, total=len(answer.health)),
            wording.say("pages_tile.ready"),
            tone="good" if ready == len(answer.health) else "bad",
        )
    if "findings" in asked:
        yield causes(answer, wording)
    if "effects" in asked or "changes" in asked:
        yield regressions(answer, wording)
    if covered.HasField("freshest_run_at"):
        freshest = moment_of(covered.freshest_run_at)
        yield Tile(f"{freshest:%H:%M}", wording.say("pages_tile.freshest"), f"{freshest:%Y-%m-%d}")


def causes(answer: messages.GetFleetReportResponse, wording: Wording) -> Tile:
    acknowledged = sum(row.HasField("acknowledgement") for row in answer.findings)
    open_causes = len(answer.findings) - acknowledged
    note = wording.say("pages_tile.causes_acknowledged", count=acknowledged) if acknowledged else ""
    return Tile(
        f"{open_causes}", wording.say("pages_tile.causes"), note, tone="bad" if open_causes else "good"
    )


def regressions(answer: messages.GetFleetReportResponse, wording: Wording) -> Tile:
    """Confirmed ones, of versions and of machines over time, each cause once."""
    worse = causes_of(answer, messages.JUDGEMENT_WORSE)
    better = causes_of(answer, messages.JUDGEMENT_BETTER)
    notes = []
    if worse.total() > len(worse):
        notes.append(wording.say("pages_tile.worse_measured", count=worse.total()))
    if better:
        notes.append(wording.say("pages_tile.better", count=len(better)))
    note = wording.say("word.clause_separator").join(notes)
    return Tile(f"{len(worse)}", wording.say("pages_tile.worse"), note, tone="bad" if worse else "good")


def based_on(covered: messages.Coverage, wording: Wording) -> str:
    if not covered.HasField("freshest_run_at"):
        return wording.say("pages_coverage.no_run")
    return wording.say(
        "pages_coverage.based_on",
        runs=f"{covered.runs:,}",
        results=f"{covered.results:,}",
        oldest=wording.moment(covered.oldest_run_at),
        freshest=wording.moment(covered.freshest_run_at),
    )


def silent_machines(covered: messages.Coverage, wording: Wording) -> Table:
    def last_run(one: messages.SilentMachine) -> Cell:
        return wording.when(one.last_run_at) if one.HasField("last_run_at") else Cell("—", key=0.0)

    return Table(
        identity="silent-machines",
        caption=wording.say("pages_coverage.silent"),
        columns=(Column(wording.column("machine")), Column(wording.column("last_run"), is_number=True)),
        rows=tuple((wording.machine(one.machine_id, one.hostname), last_run(one)) for one in covered.silent),
    )


def overdue_machines(covered: messages.Coverage, wording: Wording) -> Table:
    return Table(
        identity="overdue-machines",
        caption=wording.say("pages_coverage.overdue"),
        columns=(Column(wording.column("machine")), Column(wording.column("last_run"), is_number=True)),
        rows=tuple(
            (wording.machine(one.machine_id, one.hostname), wording.when(one.last_run_at))
            for one in covered.overdue
        ),
    )
