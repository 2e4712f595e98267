"""What the report is based on: who reported, since when, and of whom nothing is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.sections.wording import when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import (
        Coverage,
        GetFleetReportResponse,
        OverdueMachine,
        SilentMachine,
    )

    from llmenv_cli.render.blocks import Block

LONGEST_HOURS = 48


def coverage(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """Machines that report and machines that do not: silence is never shown as health."""
    return Section(texts.say("fleet.coverage"), tuple(_blocks(answer, texts)))


def _blocks(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    based_on = answer.coverage
    yield Paragraph(
        texts.say(
            "fleet.based_on",
            reporting=based_on.reporting,
            machines=based_on.machines,
            runs=f"{based_on.runs:,}",
            results=f"{based_on.results:,}",
        )
    )
    yield from _period(based_on, texts)
    if answer.health:
        ready = sum(row.readiness.is_ready for row in answer.health)
        yield Paragraph(texts.say("fleet.ready", ready=ready, total=len(answer.health)))
    if not (based_on.machines or based_on.reporting):
        yield Paragraph(texts.say("fleet.no_machine"))
    elif not based_on.reporting:
        yield Paragraph(texts.say("fleet.nobody"))
    if based_on.silent:
        silent = words.names((_silent(one, texts) for one in based_on.silent), texts, most=words.MOST_ROWS)
        yield Paragraph(texts.say("fleet.silent_count", count=len(based_on.silent), machines=silent))
    if based_on.overdue:
        overdue = words.names((_overdue(one, texts) for one in based_on.overdue), texts, most=words.MOST_ROWS)
        yield Paragraph(texts.say("fleet.overdue_count", count=len(based_on.overdue), machines=overdue))
    if based_on.pending:
        yield Paragraph(texts.say("fleet.pending", count=based_on.pending))


def _period(based_on: Coverage, texts: Texts) -> Iterator[Block]:
    if not based_on.HasField("freshest_run_at"):
        return
    key = "fleet.period_since" if based_on.HasField("since") else "fleet.period_all"
    yield Paragraph(
        texts.say(
            key,
            **({"since": when(based_on.since)} if based_on.HasField("since") else {}),
            as_of=when(based_on.as_of) if based_on.HasField("as_of") else when(based_on.freshest_run_at),
            freshest=when(based_on.freshest_run_at),
            oldest=when(based_on.oldest_run_at),
        )
    )


def _silent(machine: SilentMachine, texts: Texts) -> str:
    if machine.HasField("last_run_at"):
        return texts.say("fleet.silent_machine", machine=machine.hostname, since=when(machine.last_run_at))
    return texts.say("fleet.silent_always", machine=machine.hostname)


def _overdue(machine: OverdueMachine, texts: Texts) -> str:
    hours = machine.usual_seconds / 3_600
    usual = f"{hours:.1f} h" if hours < LONGEST_HOURS else f"{hours / 24:.1f} d"
    return texts.say(
        "fleet.overdue_machine", machine=machine.hostname, since=when(machine.last_run_at), usual=usual
    )
