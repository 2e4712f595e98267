"""A machine as a page: whether it is there, what it is, and its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1.run_pb2 import RUN_OUTCOME_UNSPECIFIED

from llmenv_collector.pages import figures
from llmenv_collector.pages.blocks import Block, Cell, Column, Paragraph, Section, Table, Tile, Tiles
from llmenv_collector.pages.live_page import Content
from llmenv_collector.pages.wording import SIGNS, Wording, moment_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.fleet.v1.fleet_service_pb2 import FleetMachine, ListRunsResponse, RunSummary


def content(known: FleetMachine, runs: ListRunsResponse, *, language: str) -> Content:
    wording = Wording(language, is_live=True)
    machine = known.machine
    system = f"{machine.os_name} {machine.os_version}".strip()
    blocks: list[Block] = [Tiles(tuple(tiles(known, runs, wording)))]
    if runs.runs:
        blocks.append(run_table(runs, wording))
    if runs.total_runs > len(runs.runs):
        said = wording.say("pages_machine.runs_shown", shown=len(runs.runs), all=f"{runs.total_runs:,}")
        blocks.append(Paragraph(said, "note"))
    facts = (facts_table(known, wording),)
    return Content(
        title=machine.hostname or machine.machine_id,
        subtitle=wording.say("pages_machine.subtitle", chip=machine.chip or "—", system=system or "—"),
        sections=(
            Section("runs", wording.say("pages_machine.runs"), tuple(blocks)),
            Section("facts", wording.say("pages_machine.facts"), facts),
        ),
    )


def tiles(known: FleetMachine, runs: ListRunsResponse, wording: Wording) -> Iterator[Tile]:
    state = "online" if known.is_connected else "offline"
    yield Tile(
        wording.say(f"pages_machine.{state}"),
        wording.say("pages_machine.stream"),
        tone="good" if known.is_connected else "caution",
    )
    if runs.runs:
        newest = runs.runs[0]
        is_ready = newest.readiness.is_ready
        begun = moment_of(newest.started_at)
        yield Tile(f"{begun:%H:%M}", wording.say("pages_machine.newest"), f"{begun:%Y-%m-%d} UTC")
        yield Tile(
            wording.say("word.yes" if is_ready else "word.no"),
            wording.say("pages_run.readiness"),
            tone="good" if is_ready else "bad",
        )


def run_table(runs: ListRunsResponse, wording: Wording) -> Table:
    return Table(
        identity="runs-table",
        caption=wording.say("pages_machine.runs"),
        is_caption_shown=False,
        columns=(
            Column(wording.say("pages_machine.run")),
            Column(wording.column("ready")),
            Column(wording.column("verdicts")),
            Column(wording.say("pages_run.state")),
            Column(wording.say("pages_machine.suite")),
            Column(wording.say("column.schedule_name")),
            Column(wording.column("environment")),
            Column(wording.column("device")),
        ),
        rows=tuple(run_row(run, wording) for run in runs.runs),
    )


def run_row(run: RunSummary, wording: Wording) -> tuple[Cell, ...]:
    is_ready = run.readiness.is_ready
    word = "pass" if is_ready else "fail"
    ended = run.outcome != RUN_OUTCOME_UNSPECIFIED
    state = wording.say(f"outcome.{run.outcome}") if ended else wording.say("pages_run.running")
    return (
        Cell(
            wording.moment_in_column(run.started_at),
            key=float(run.started_at.seconds),
            href=f"/runs/{run.run_id}?lang={wording.language}",
        ),
        Cell(
            wording.say("word.yes" if is_ready else "word.no"),
            key=float(is_ready),
            mark=f"v-{word}",
            sign=SIGNS[word],
        ),
        Cell(wording.counts(run.status_counts)),
        Cell(state),
        Cell(run.suite),
        Cell(run.schedule_name),
        Cell(run.environment_name),
        Cell(run.device),
    )


def facts_table(known: FleetMachine, wording: Wording) -> Table:
    return Table(
        identity="machine-facts",
        caption=wording.say("pages_machine.facts"),
        is_caption_shown=False,
        columns=(Column(wording.say("pages_run.fact")), Column(wording.say("pages_run.value"))),
        rows=tuple((Cell(name), Cell(value or "—")) for name, value in facts(known, wording)),
    )


def facts(known: FleetMachine, wording: Wording) -> Iterator[tuple[str, str]]:
    machine = known.machine
    yield wording.column("chip"), machine.chip
    yield wording.say("pages_machine.model"), machine.model_name
    if machine.HasField("gpu_cores"):
        yield wording.say("column.gpu_cores"), f"{machine.gpu_cores}"
    if machine.HasField("memory_bytes"):
        yield wording.say("column.memory_bytes"), figures.memory(machine.memory_bytes)
    system = f"{machine.os_name} {machine.os_version} {machine.os_build}".strip()
    yield wording.say("header.system"), system
    yield wording.say("pages_machine.agent"), known.agent_version
    yield wording.say("pages_machine.enrolled"), wording.moment(known.enrolled_at)
    if known.HasField("last_seen_at"):
        yield wording.say("pages_machine.last_seen"), wording.moment(known.last_seen_at)
    if known.HasField("doubled_at"):
        yield wording.say("pages_machine.doubled"), wording.moment(known.doubled_at)
    if known.labels:
        labels = wording.listed(f"{key}={value}" for key, value in sorted(known.labels.items()))
        yield wording.say("pages_machine.labels"), labels
