"""A run as a page: every planned check with its verdict as it comes, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.status import CORE_CHECKS, WORDS, blocking_checks
from llmenv.fleet.v1.run_pb2 import RUN_OUTCOME_UNSPECIFIED

from llmenv_collector.pages import figures
from llmenv_collector.pages.blocks import Cell, Column, Section, Table, Tile, Tiles
from llmenv_collector.pages.live_page import Content
from llmenv_collector.pages.wording import SEVERITY, Wording

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from llmenv.fleet.v1.result_pb2 import Measurement, Result
    from llmenv.fleet.v1.run_pb2 import Run

BEFORE_ALL, AFTER_ALL = -1.0, float(len(SEVERITY))
"""Where what runs and what has not run are sorted among the statuses."""


def content(run: Run, running: Collection[str], *, language: str) -> Content:
    """`running` names the checks that have begun and have no result."""
    wording = Wording(language, is_live=True)
    return Content(
        title=wording.say("pages_run.title", hostname=run.machine.hostname or run.machine.machine_id),
        subtitle=wording.say(
            "pages_run.subtitle",
            suite=run.suite,
            environment=run.environment.name,
            device=run.device,
            moment=wording.moment(run.started_at),
        ),
        sections=tuple(sections(run, running, wording)),
    )


def sections(run: Run, running: Collection[str], wording: Wording) -> Iterator[Section]:
    results = {result.check_name: result for result in run.results}
    names = list(dict.fromkeys([*run.planned_checks, *results]))
    rows = tuple(check_row(name, results.get(name), name in running, wording) for name in names)
    shown = (Tiles(tuple(tiles(run, results, names, wording))), check_table(rows, wording))
    yield Section("checks", wording.say("pages_run.checks"), shown)
    measured = tuple(measured_rows(run, wording))
    if measured:
        yield Section("figures", wording.say("pages_run.figures"), (measured_table(measured, wording),))
    yield Section("facts", wording.say("pages_run.facts"), (facts_table(run, wording),))


def tiles(run: Run, results: dict[str, Result], names: list[str], wording: Wording) -> Iterator[Tile]:
    yield Tile(outcome(run, wording), wording.say("pages_run.state"))
    yield Tile(
        wording.say("pages_run.checks_done", done=len(results), planned=len(names)),
        wording.say("pages_run.done"),
    )
    # Of a run that did not ask for the core checks nothing is said.
    if set(CORE_CHECKS) <= set(names) and run.outcome != RUN_OUTCOME_UNSPECIFIED:
        words = {name: WORDS.get(result.status, "unknown") for name, result in results.items()}
        is_ready = not blocking_checks(words, is_apple_silicon=run.machine.is_apple_silicon)
        word = wording.say("word.yes" if is_ready else "word.no")
        yield Tile(word, wording.say("pages_run.readiness"), tone="good" if is_ready else "bad")


def outcome(run: Run, wording: Wording) -> str:
    if run.outcome == RUN_OUTCOME_UNSPECIFIED:
        return wording.say("pages_run.running")
    return wording.say(f"outcome.{run.outcome}") if run.outcome in {1, 2, 3} else f"{run.outcome}"


def check_row(name: str, result: Result | None, is_running: bool, wording: Wording) -> tuple[Cell, ...]:
    title = Cell(wording.check(name))
    if result is None:
        said = wording.say("pages_run.running_now" if is_running else "pages_run.not_yet")
        state = Cell(said, key=BEFORE_ALL, mark="v-running", sign="…")
        if not is_running:
            state = Cell(said, key=AFTER_ALL, mark="v-skip", sign="·")
        return (title, state, Cell(""), Cell("", key=0.0), Cell(""))
    seconds = result.wall_seconds
    return (
        title,
        wording.status(result.status),
        Cell(wording.sentence(result.reason)),
        Cell(figures.quantity(seconds, "s", wording.texts), key=seconds),
        Cell(wording.remedy(result.remedy_id)),
    )


def check_table(rows: tuple[tuple[Cell, ...], ...], wording: Wording) -> Table:
    return Table(
        identity="checks-table",
        caption=wording.say("pages_run.checks"),
        is_caption_shown=False,
        columns=(
            Column(wording.column("check")),
            Column(wording.column("status")),
            Column(wording.column("finding"), is_wide=True),
            Column(wording.say("pages_run.took"), is_number=True),
            Column(wording.column("remedy"), is_wide=True),
        ),
        rows=rows,
    )


def measured_rows(run: Run, wording: Wording) -> Iterator[tuple[Cell, ...]]:
    for result in run.results:
        for one in result.measurements:
            yield measured_row(result.check_name, "", one, wording)
        for case in result.cases:
            for one in case.measurements:
                yield measured_row(result.check_name, case.name, one, wording)


def measured_row(check: str, case: str, one: Measurement, wording: Wording) -> tuple[Cell, ...]:
    name = wording.texts.name_of("name", one.name)
    return (
        Cell(wording.check(check)),
        Cell(wording.listed([name, case]) if case else name),
        Cell(figures.quantity(one.value, one.unit, wording.texts), key=finite(one.value)),
        Cell(f"{len(one.trials)}", key=float(len(one.trials))),
    )


def finite(value: float) -> float:
    """To sort by: a loss may be nan or inf."""
    return value if abs(value) < float("inf") else float("-1e308")


def measured_table(rows: tuple[tuple[Cell, ...], ...], wording: Wording) -> Table:
    return Table(
        identity="measured",
        caption=wording.say("pages_run.figures"),
        is_caption_shown=False,
        columns=(
            Column(wording.column("check")),
            Column(wording.column("measurement")),
            Column(wording.say("pages_run.value"), is_number=True),
            Column(wording.say("pages_run.trials"), is_number=True),
        ),
        rows=rows,
    )


def facts_table(run: Run, wording: Wording) -> Table:
    machine = run.machine
    rows = (
        (wording.say("pages_run.machine_page"), wording.machine(machine.machine_id, machine.hostname)),
        (wording.column("chip"), Cell(machine.chip)),
        (wording.say("header.system"), Cell(f"{machine.os_name} {machine.os_version}".strip())),
        (wording.column("environment"), Cell(run.environment.name)),
        *([(wording.say("column.schedule_name"), Cell(run.schedule_name))] if run.schedule_name else []),
        (wording.say("pages_run.run_id"), Cell(run.run_id)),
        (wording.say("pages_machine.agent"), Cell(run.agent_version)),
    )
    return Table(
        identity="run-facts",
        caption=wording.say("pages_run.facts"),
        is_caption_shown=False,
        columns=(Column(wording.say("pages_run.fact")), Column(wording.say("pages_run.value"))),
        rows=tuple((Cell(name), cell) for name, cell in rows),
    )
