"""What versions do to measurements: what is real as a table a change, the rest counted and named."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.difference import estimated, share
from llmenv_cli.render.fleet.distinct import identity, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.blocks import Block
    from llmenv_cli.render.fleet.distinct import Identity


def effects(rows: Sequence[messages.EffectRow], method: messages.Method, texts: Texts) -> Section:
    """A subsection a change of version, those with something worse first."""
    groups = [
        list(group)
        for _, group in itertools.groupby(
            sorted(rows, key=lambda row: (row.package, row.baseline, row.candidate)),
            key=lambda row: (row.package, row.baseline, row.candidate),
        )
    ]
    groups.sort(key=_urgency)
    return Section(
        texts.say("fleet.effects"),
        (),
        tuple(
            Section(words.versions(group[0], texts), tuple(judged(group, method, texts))) for group in groups
        ),
    )


def judged(rows: Sequence[messages.EffectRow], method: messages.Method, texts: Texts) -> Iterator[Block]:
    """Worse before better; then what is the same, and what nothing can be said of."""
    real = [row for given in words.REAL for row in rows if row.judgement == given]
    columns = (
        words.column("judgement", texts),
        words.column("measurement_of", texts, wraps=True),
        words.column("difference", texts, wraps=True),
        words.column("compared_on", texts, wraps=True),
    )
    named = names_of((row.series for row in rows), texts)
    yield from words.table(columns, [_cells(row, named, texts) for row in real], texts)
    confounding = sorted({words.package_name(name) for row in real for name in row.confounded_with})
    if confounding:
        yield Paragraph(
            texts.say("fleet.effects_confounded", names=words.names(confounding, texts, most=words.MOST_ROWS))
        )
    same = [row for row in rows if row.judgement == messages.JUDGEMENT_SAME]
    if same:
        percent = share(method.minimum_effect)
        yield Paragraph(texts.say("fleet.effects_same", percent=percent, names=_names(same, named, texts)))
    others = [row for row in rows if row.judgement not in {*words.REAL, messages.JUDGEMENT_SAME}]
    if others:
        yield Paragraph(texts.say("fleet.effects_inconclusive", names=_names(others, named, texts)))


def compared_on(row: messages.EffectRow, texts: Texts) -> str:
    """How many machines are behind each side, and whether they are the same ones."""
    if row.pairing == messages.PAIRING_WITHIN_MACHINE:
        return texts.say("fleet.within_machine", count=row.candidate_machines)
    return texts.say("fleet.within_cohort", candidate=row.candidate_machines, baseline=row.baseline_machines)


def _urgency(rows: list[messages.EffectRow]) -> int:
    judgements = {row.judgement for row in rows}
    return next((rank for rank, given in enumerate(words.REAL) if given in judgements), len(words.REAL))


def _cells(row: messages.EffectRow, named: Mapping[Identity, str], texts: Texts) -> tuple[str, ...]:
    return (
        words.judgement(row.judgement, texts),
        named[identity(row.series)],
        estimated(row.ratio, row.series, texts),
        compared_on(row, texts),
    )


def _names(rows: Sequence[messages.EffectRow], named: Mapping[Identity, str], texts: Texts) -> str:
    return words.names((named[identity(row.series)] for row in rows), texts, most=4)
