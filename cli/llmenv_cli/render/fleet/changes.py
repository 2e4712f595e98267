"""When a measurement or a verdict changed on a machine, and what changed there and then."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS

from llmenv_cli.fleet_verdict import FAILING
from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.causes import causes, identity
from llmenv_cli.render.fleet.difference import estimated
from llmenv_cli.render.sections.wording import status_of, title, when

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import ChangeRow, GetFleetReportResponse, VerdictChangeRow

    from llmenv_cli.render.blocks import Block


# Measurements that are named of one change.
MOST_FIGURES = 4


def changes(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """What is confirmed; what is suspected stands apart, what does not matter is counted."""
    suspected = [row for row in answer.changes if row.is_suspected]
    young = [_item(group, "suspected", texts) for group in _together(suspected)]
    apart = Section(texts.say("fleet.suspected"), tuple(words.bullets(young, texts)))
    return Section(
        texts.say("fleet.changes"), tuple(_blocks(answer, texts)), (apart,) if apart.blocks else ()
    )


def verdict_changes(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """One item a check, verdict and best cause, whichever machines have it; what began to fail first."""
    groups: dict[tuple[object, ...], list[VerdictChangeRow]] = {}
    for row in answer.verdict_changes:
        key = (row.check_name, row.device, row.before, row.after, identity(row.causes, most=1))
        groups.setdefault(key, []).append(row)
    ranked = sorted(groups.values(), key=lambda rows: WORDS.get(rows[0].after) not in FAILING)
    items = [_verdict_change(rows, texts) for rows in ranked]
    return Section(texts.say("fleet.verdict_changes"), tuple(words.bullets(items, texts)))


def _blocks(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    confirmed = [row for row in answer.changes if not row.is_suspected]
    real = [row for given in words.REAL for row in confirmed if row.judgement == given]
    yield from words.bullets([_item(group, "change", texts) for group in _together(real)], texts)
    if len(confirmed) > len(real):
        yield Paragraph(texts.say("fleet.changes_inconclusive", count=len(confirmed) - len(real)))


def _together(rows: Sequence[ChangeRow]) -> list[list[ChangeRow]]:
    """Measurements that changed at one time on one machine, with the same causes."""
    groups: dict[tuple[object, ...], list[ChangeRow]] = {}
    for row in rows:
        changed_at = row.changed_at.ToNanoseconds()
        key = (row.machine_id, row.environment_name, row.series.device, changed_at, row.judgement)
        groups.setdefault((*key, identity(row.causes)), []).append(row)
    return list(groups.values())


def _item(rows: Sequence[ChangeRow], kind: str, texts: Texts) -> str:
    first = rows[0]
    said = texts.say(
        f"fleet.{kind}_item",
        place=words.place(first, texts),
        figures=words.names(
            (_figure(row, texts) for row in rows), texts, most=MOST_FIGURES, separator="word.clause_separator"
        ),
        since=when(first.changed_at),
        points=first.points,
        **({"judgement": words.judgement(first.judgement, texts)} if kind == "change" else {}),
    )
    return f"{said}{texts.say('word.sentence_separator')}{causes(first.causes, texts)}"


def _figure(row: ChangeRow, texts: Texts) -> str:
    unit = row.series.unit
    return texts.say(
        "fleet.change_figure",
        measured=words.measured(row.series, texts, with_device=False),
        difference=estimated(row.ratio, row.series, texts),
        before=numbers.quantity(row.before, unit, texts),
        after=numbers.quantity(row.after, unit, texts),
    )


def _verdict_change(rows: Sequence[VerdictChangeRow], texts: Texts) -> str:
    first, last = (pick(rows, key=lambda row: row.changed_at.ToNanoseconds()) for pick in (min, max))
    values = {
        "check": title(first.check_name, texts),
        "before": status_of(first.before, texts),
        "after": status_of(first.after, texts),
    }
    if len(rows) == 1:
        said = texts.say(
            "fleet.verdict_change_item",
            place=words.place(first, texts),
            since=when(first.changed_at),
            **values,
        )
    else:
        said = texts.say(
            "fleet.verdict_change_items",
            machines=words.names((row.hostname for row in rows), texts),
            count=len(rows),
            first=when(first.changed_at),
            last=when(last.changed_at),
            **values,
        )
    return f"{said}{texts.say('word.sentence_separator')}{causes(rows[0].causes, texts)}"
