"""How it was judged, what was set aside, which limits cut it short, and the statements behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_collector.pages import figures
from llmenv_collector.pages.blocks import Block, Cell, Column, Fold, Paragraph, Query, Section, Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.pages.wording import Wording

REASONS = frozenset(
    {
        "low_power",
        "thermal",
        "memory_pressure",
        "battery",
        "unstable",
        "withheld",
        "not_passed",
        "other_definition",
    }
)


def section(
    method: messages.Method, wording: Wording, *, explanations: Sequence[messages.Explanation] = ()
) -> Section:
    return Section(
        "method", wording.say("pages_section.method"), tuple(blocks(method, wording, explanations))
    )


def blocks(
    method: messages.Method, wording: Wording, explanations: Sequence[messages.Explanation]
) -> Iterator[Block]:
    yield Paragraph(wording.say("pages_method.confidence", confidence=figures.share(method.confidence)))
    yield Paragraph(wording.say("pages_method.minimum", minimum=figures.share(method.minimum_effect)))
    rate = figures.share(method.false_discovery_rate)
    yield Paragraph(wording.say("pages_method.rate", rate=rate, tests=f"{method.tests:,}"))
    if method.set_aside:
        yield set_aside(method, wording)
    else:
        yield Paragraph(wording.say("pages_method.nothing_aside"))
    if method.limits:
        yield limits(method, wording)
    if explanations:
        queries = tuple(Query(one.section, one.sql) for one in explanations)
        yield Fold(wording.say("pages_method.explanations"), queries)


def set_aside(method: messages.Method, wording: Wording) -> Table:
    return Table(
        identity="set-aside",
        caption=wording.say("pages_method.set_aside"),
        columns=(
            Column(wording.column("reason")),
            Column(wording.column("results"), is_number=True),
        ),
        rows=tuple(
            (Cell(reason(row.reason, wording)), Cell(f"{row.results:,}", key=float(row.results)))
            for row in method.set_aside
        ),
    )


def reason(name: str, wording: Wording) -> str:
    """That of a newer collector by its own name."""
    return wording.say(f"pages_set_aside.{name}") if name in REASONS else name.replace("_", " ")


def limits(method: messages.Method, wording: Wording) -> Table:
    return Table(
        identity="limits",
        caption=wording.say("pages_method.limits"),
        columns=(Column(wording.column("reason"), is_wide=True),),
        rows=tuple((Cell(wording.sentence(limit)),) for limit in method.limits),
    )
