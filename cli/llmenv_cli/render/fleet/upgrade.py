"""May the fleet move to a version: the answer first, its reasons, then the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.texts import texts as texts_in
from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_cli.render.blocks import Bullets, Paragraph, Report, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.effects import effects
from llmenv_cli.render.fleet.exposure import exposures
from llmenv_cli.render.fleet.method import method
from llmenv_cli.render.fleet.verdict_effects import verdict_effects

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.blocks import Block

ANSWERS = {
    messages.UPGRADE_VERDICT_SAFE: "safe",
    messages.UPGRADE_VERDICT_NOT_SAFE: "not_safe",
    messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE: "not_enough",
}


def upgrade(answer: messages.CheckUpgradeResponse, *, requirement: str, language: str) -> Report:
    """What this llmenv does not understand is not enough evidence."""
    texts = texts_in(language)
    sections = (
        Section(texts.say("upgrade.answer"), tuple(_answer(answer, texts))),
        verdict_effects(answer.verdict_effects, texts),
        effects(answer.effects, answer.method, texts),
        exposures(answer.exposures, machines=0, texts=texts),
        method(answer.method, texts),
    )
    kept = tuple(section for section in sections if section.blocks or section.subsections)
    return Report(texts.say("upgrade.title", requirement=requirement), kept)


def _answer(answer: messages.CheckUpgradeResponse, texts: Texts) -> Iterator[Block]:
    yield Paragraph(texts.say(f"upgrade.{ANSWERS.get(answer.verdict, 'not_enough')}"))
    if answer.reasons:
        yield Bullets(tuple(texts.sentence(reason) for reason in answer.reasons))
    if answer.untried:
        untried = texts.say("word.clause_separator").join(
            words.variant(chip, texts) for chip in answer.untried
        )
        yield Paragraph(texts.say("upgrade.untried", chips=untried))
