"""May the fleet move to a version, as a page: the answer first, its reasons, then the evidence."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.pages import report_file
from llmenv_collector.pages.blocks import Block, Bullets, Paragraph, Section
from llmenv_collector.pages.comparison_page import judgement_tiles
from llmenv_collector.pages.sections import effects, exposure, method
from llmenv_collector.pages.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWERS = {
    messages.UPGRADE_VERDICT_SAFE: ("safe", "good"),
    messages.UPGRADE_VERDICT_NOT_SAFE: ("not_safe", "bad"),
    messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE: ("not_enough", "caution"),
}


def render(
    found: messages.CheckUpgradeResponse, *, asked: messages.CheckUpgradeRequest, language: str
) -> str:
    """One self-contained file; what this collector does not know is not enough evidence."""
    wording = Wording(language)
    answer, _ = answer_of(found)
    return report_file.render(
        wording,
        title=wording.say("upgrade.title", requirement=asked.requirement.strip()),
        subtitle=wording.say(f"upgrade.{answer}"),
        generated_at=found.generated_at,
        sections=tuple(sections(found, wording)),
    )


def answer_of(found: messages.CheckUpgradeResponse) -> tuple[str, str]:
    return ANSWERS.get(found.verdict, ANSWERS[messages.UPGRADE_VERDICT_NOT_ENOUGH_EVIDENCE])


def sections(found: messages.CheckUpgradeResponse, wording: Wording) -> Iterator[Section]:
    yield Section("answer", wording.say("upgrade.answer"), tuple(answered(found, wording)))
    if found.effects or found.verdict_effects:
        yield effects.section(found.effects, found.verdict_effects, found.method, wording)
    if found.exposures:
        yield exposure.section(found.exposures, 0, wording)
    yield method.section(found.method, wording)


def answered(found: messages.CheckUpgradeResponse, wording: Wording) -> Iterator[Block]:
    answer, tone = answer_of(found)
    yield Paragraph(wording.say(f"upgrade.{answer}"), f"answer {tone}")
    if found.reasons:
        yield Bullets(tuple(wording.sentence(reason) for reason in found.reasons))
    rows: list[effects.Effect] = [*found.effects, *found.verdict_effects]
    if rows:
        yield judgement_tiles(Counter(row.judgement for row in rows), wording)
    if found.untried:
        separator = wording.say("word.clause_separator")
        chips = separator.join(wording.variant(chip) for chip in found.untried)
        yield Paragraph(wording.say("upgrade.untried", chips=chips))
