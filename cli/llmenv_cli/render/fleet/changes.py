"""When a measurement or a verdict changed on a machine, and what changed there and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.causes import causes
from llmenv_cli.render.fleet.difference import estimated
from llmenv_cli.render.sections.wording import status_of, title, when

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import ChangeRow, GetFleetReportResponse, VerdictChangeRow

    from llmenv_cli.render.blocks import Block


def changes(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """What is confirmed; what is suspected stands apart, what does not matter is counted."""
    suspected = [_suspected(row, texts) for row in answer.changes if row.is_suspected]
    young = Section(texts.say("fleet.suspected"), tuple(words.bullets(suspected, texts)))
    return Section(
        texts.say("fleet.changes"), tuple(_blocks(answer, texts)), (young,) if young.blocks else ()
    )


def verdict_changes(answer: GetFleetReportResponse, texts: Texts) -> Section:
    items = [_verdict_change(row, texts) for row in answer.verdict_changes]
    return Section(texts.say("fleet.verdict_changes"), tuple(words.bullets(items, texts)))


def _blocks(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    confirmed = [row for row in answer.changes if not row.is_suspected]
    real = [row for given in words.REAL for row in confirmed if row.judgement == given]
    yield from words.bullets([_change(row, texts) for row in real], texts)
    if len(confirmed) > len(real):
        yield Paragraph(texts.say("fleet.changes_inconclusive", count=len(confirmed) - len(real)))


def _change(row: ChangeRow, texts: Texts) -> str:
    unit = row.series.unit
    said = texts.say(
        "fleet.change_item",
        judgement=words.judgement(row.judgement, texts),
        place=words.place(row, texts),
        measured=words.measured(row.series, texts, with_device=False),
        difference=estimated(row.ratio, row.series, texts),
        since=when(row.changed_at),
        before=numbers.quantity(row.before, unit, texts),
        after=numbers.quantity(row.after, unit, texts),
        points=row.points,
    )
    return f"{said}{texts.say('word.sentence_separator')}{causes(row.causes, texts)}"


def _suspected(row: ChangeRow, texts: Texts) -> str:
    said = texts.say(
        "fleet.suspected_item",
        place=words.place(row, texts),
        measured=words.measured(row.series, texts, with_device=False),
        difference=estimated(row.ratio, row.series, texts),
        since=when(row.changed_at),
        points=row.points,
    )
    return f"{said}{texts.say('word.sentence_separator')}{causes(row.causes, texts)}"


def _verdict_change(row: VerdictChangeRow, texts: Texts) -> str:
    said = texts.say(
        "fleet.verdict_change_item",
        place=words.place(row, texts),
        check=title(row.check_name, texts),
        before=status_of(row.before, texts),
        after=status_of(row.after, texts),
        since=when(row.changed_at),
    )
    return f"{said}{texts.say('word.sentence_separator')}{causes(row.causes, texts)}"
