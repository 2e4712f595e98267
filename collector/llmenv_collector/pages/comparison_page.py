"""Two sides compared, as a page: what is real, then what else differs between them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import fleet_report_pb2 as messages

from llmenv_collector.pages import report_file
from llmenv_collector.pages.blocks import Block, Cell, Column, Paragraph, Section, Table, Tile, Tiles
from llmenv_collector.pages.sections import effects, method
from llmenv_collector.pages.wording import Wording

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KINDS = ("machine", "chip", "package", "date")
DIFFERENCES = ("package", "fact", "variable")
JUDGEMENTS = {
    messages.JUDGEMENT_WORSE: ("worse", "bad"),
    messages.JUDGEMENT_BETTER: ("better", "good"),
    messages.JUDGEMENT_SAME: ("same", ""),
    messages.JUDGEMENT_INCONCLUSIVE: ("inconclusive", ""),
}
"""Each with the name of its tile and the tone of it where it is not 0."""


def render(
    found: messages.CompareFleetResponse, *, asked: messages.CompareFleetRequest, language: str
) -> str:
    """One self-contained file."""
    wording = Wording(language)
    sides = asked.baseline.strip(), asked.candidate.strip()
    found = named(found, sides)
    return report_file.render(
        wording,
        title=wording.say("compare.title", baseline=sides[0], candidate=sides[1]),
        subtitle=what(found, sides, wording),
        generated_at=found.generated_at,
        sections=tuple(sections(found, sides, wording)),
    )


def named(found: messages.CompareFleetResponse, sides: tuple[str, str]) -> messages.CompareFleetResponse:
    """With the sides as they were asked for: a machine by its name, where the answer has its id."""
    said = messages.CompareFleetResponse()
    said.CopyFrom(found)
    rows: list[effects.Effect] = [*said.effects, *said.verdict_effects]
    for row in rows:
        if found.kind != "package":
            row.baseline, row.candidate = sides
    return said


def what(found: messages.CompareFleetResponse, sides: tuple[str, str], wording: Wording) -> str:
    kind = wording.say(f"compare.kind_{found.kind if found.kind in KINDS else 'other'}")
    return wording.say("compare.what", baseline=sides[0], candidate=sides[1], kind=kind)


def sections(
    found: messages.CompareFleetResponse, sides: tuple[str, str], wording: Wording
) -> Iterator[Section]:
    summary = tuple(summed_up(found, wording))
    yield Section("summary", wording.say("compare.summary_title"), summary)
    if found.effects or found.verdict_effects:
        compared = effects.blocks(found.effects, found.verdict_effects, found.method, wording)
        yield Section("measurements", wording.say("compare.measurements"), tuple(compared))
    if found.differences:
        table = difference_table(found.differences, sides, wording)
        yield Section("differences", wording.say("compare.differences"), (table,))
    yield method.section(found.method, wording)


def summed_up(found: messages.CompareFleetResponse, wording: Wording) -> Iterator[Block]:
    rows: list[effects.Effect] = [*found.effects, *found.verdict_effects]
    if not rows:
        yield Paragraph(wording.say("compare.nothing"))
        return
    yield judgement_tiles(Counter(row.judgement for row in rows), wording)


def judgement_tiles(counted: Counter[messages.Judgement.ValueType], wording: Wording) -> Tiles:
    return Tiles(
        tuple(
            Tile(
                f"{counted[judgement]:,}",
                wording.say(f"pages_compare.{name}"),
                tone=tone if counted[judgement] else "",
            )
            for judgement, (name, tone) in JUDGEMENTS.items()
        )
    )


def difference_table(
    rows: Sequence[messages.DifferenceRow], sides: tuple[str, str], wording: Wording
) -> Table:
    absent = wording.say("pages_cause.absent")
    return Table(
        identity="differences-table",
        caption=wording.say("compare.differences"),
        is_caption_shown=False,
        columns=(
            Column(wording.say("column.what_differs")),
            Column(sides[0], is_wide=True),
            Column(sides[1], is_wide=True),
            Column(wording.say("column.kind")),
        ),
        rows=tuple(
            (
                Cell(wording.texts.name_of("name", row.name) if row.kind == "fact" else row.name),
                wording.names(row.baseline) if row.baseline else Cell(absent),
                wording.names(row.candidate) if row.candidate else Cell(absent),
                Cell(wording.say(f"difference_kind.{row.kind}") if row.kind in DIFFERENCES else row.kind),
            )
            for row in rows
        ),
    )
