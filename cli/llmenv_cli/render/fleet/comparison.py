"""Two sides compared: what is real, then what else differs between them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.texts import texts as texts_in

from llmenv_cli.render.blocks import Column, Paragraph, Report, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.effects import judged
from llmenv_cli.render.fleet.method import method
from llmenv_cli.render.fleet.verdict_effects import verdict_blocks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_cli.render.blocks import Block

KINDS = ("machine", "chip", "package", "date")
DIFFERENCES = ("package", "fact", "variable")


def comparison(answer: messages.CompareFleetResponse, *, sides: tuple[str, str], language: str) -> Report:
    """`sides` are baseline and candidate as they were asked for."""
    texts = texts_in(language)
    sections = (
        Section(texts.say("compare.summary_title"), tuple(_summary(answer, sides, texts))),
        Section(texts.say("compare.verdicts"), tuple(verdict_blocks(answer.verdict_effects, texts))),
        Section(texts.say("compare.measurements"), tuple(judged(answer.effects, answer.method, texts))),
        Section(texts.say("compare.differences"), tuple(_differences(answer, sides, texts))),
        method(answer.method, texts),
    )
    heading = texts.say("compare.title", baseline=sides[0], candidate=sides[1])
    return Report(heading, tuple(section for section in sections if section.blocks))


def _summary(answer: messages.CompareFleetResponse, sides: tuple[str, str], texts: Texts) -> Iterator[Block]:
    kind = texts.say(f"compare.kind_{answer.kind if answer.kind in KINDS else 'other'}")
    yield Paragraph(texts.say("compare.what", baseline=sides[0], candidate=sides[1], kind=kind))
    rows: list[words.Effect] = [*answer.effects, *answer.verdict_effects]
    if not rows:
        yield Paragraph(texts.say("compare.nothing"))
        return
    counts = {word: sum(row.judgement == given for row in rows) for given, word in words.JUDGEMENTS.items()}
    yield Paragraph(texts.say("compare.summary", **counts))


def _differences(
    answer: messages.CompareFleetResponse, sides: tuple[str, str], texts: Texts
) -> Iterator[Block]:
    columns = (
        words.column("what_differs", texts, wraps=True),
        Column(sides[0], wraps=True),
        Column(sides[1], wraps=True),
        words.column("kind", texts),
    )
    rows = [
        (
            texts.name_of("name", row.name) if row.kind == "fact" else row.name,
            words.names(row.baseline, texts) or texts.say("cause.absent"),
            words.names(row.candidate, texts) or texts.say("cause.absent"),
            texts.say(f"difference_kind.{row.kind}") if row.kind in DIFFERENCES else row.kind,
        )
        for row in answer.differences
    ]
    yield from words.table(columns, rows, texts)
