"""What versions do to verdicts: how many machines fail with a version, and how many without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.sections.wording import title

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.blocks import Block


def verdict_effects(rows: Sequence[messages.VerdictEffectRow], texts: Texts) -> Section:
    return Section(texts.say("fleet.verdict_effects"), tuple(verdict_blocks(rows, texts)))


def verdict_blocks(rows: Sequence[messages.VerdictEffectRow], texts: Texts) -> Iterator[Block]:
    """Worse before better; what nothing can be said of is named."""
    real = [row for given in words.REAL for row in rows if row.judgement == given]
    yield from words.bullets([verdict_effect(row, texts) for row in real], texts)
    others = [row for row in rows if row.judgement not in words.REAL]
    if others:
        checks = words.names(
            (
                texts.say("word.on_device", what=title(row.check_name, texts), device=row.device)
                for row in others
            ),
            texts,
        )
        yield Paragraph(texts.say("fleet.effects_inconclusive", names=checks))


def verdict_effect(row: messages.VerdictEffectRow, texts: Texts) -> str:
    is_within = row.pairing == messages.PAIRING_WITHIN_MACHINE
    key = "verdict_effect_item_within" if is_within else "verdict_effect_item"
    said = texts.say(
        f"fleet.{key}",
        judgement=words.judgement(row.judgement, texts),
        versions=words.versions(row, texts),
        check=title(row.check_name, texts),
        device=row.device,
        candidate=row.candidate,
        baseline=row.baseline,
        candidate_failing=row.candidate_failing,
        candidate_machines=row.candidate_machines,
        baseline_failing=row.baseline_failing,
        baseline_machines=row.baseline_machines,
    )
    if not row.confounded_with:
        return said
    others = words.names(map(words.package_name, row.confounded_with), texts)
    confounded = texts.say("fleet.effects_confounded", names=others)
    return f"{said}{texts.say('word.sentence_separator')}{confounded}"
