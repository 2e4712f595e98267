"""How the report was judged: every hidden limit, what was set aside, and how many tests there were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.fleet_verdict import is_cut
from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Bullets, Paragraph, Section, Verbatim
from llmenv_cli.render.fleet import words
from llmenv_cli.render.fleet.difference import share
from llmenv_cli.render.sections.wording import when

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import Explanation, Method

REASONS = (
    "low_power",
    "thermal",
    "memory_pressure",
    "battery",
    "unstable",
    "withheld",
    "not_passed",
    "other_definition",
)


def method(
    judged: Method, texts: Texts, *, empty: Sequence[str] = (), knows_changes: bool = False
) -> Section:
    """`empty` names sections without a row; `knows_changes` says whether changes were asked for."""
    items = tuple(_items(judged, empty, texts, knows_changes=knows_changes))
    return Section(texts.say("fleet.method"), (Bullets(items),) if items else ())


def explanations(rows: Sequence[Explanation], texts: Texts) -> Section:
    """The statement behind each section, to be run again."""
    parts = tuple(Section(row.section, (Verbatim(row.sql),)) for row in rows)
    note = (Paragraph(texts.say("fleet.explanation_note")),) if parts else ()
    return Section(texts.say("fleet.explanations"), note, parts)


def _items(judged: Method, empty: Sequence[str], texts: Texts, *, knows_changes: bool) -> Iterator[str]:
    for limit in judged.limits:
        said = texts.sentence(limit)
        yield texts.say("fleet.method_limit", limit=said) if is_cut(limit) else said
    if empty:
        yield texts.say("fleet.method_empty", sections=words.names(empty, texts, most=len(empty)))
    if knows_changes:
        yield _changes(judged, texts)
    yield _set_aside(judged, texts)
    if judged.confidence:
        yield texts.say("fleet.method_confidence", confidence=share(judged.confidence))
    if judged.minimum_effect:
        effect, rate = share(judged.minimum_effect), share(judged.false_discovery_rate)
        tests = numbers.count(judged.tests)
        yield texts.say("fleet.method_effect", effect=effect, rate=rate, tests=tests)
        yield texts.say("fleet.method_words", effect=effect)


def _changes(judged: Method, texts: Texts) -> str:
    if judged.HasField("changes_analysed_at"):
        return texts.say("fleet.method_changes", time=when(judged.changes_analysed_at))
    return texts.say("fleet.method_no_changes")


def _set_aside(judged: Method, texts: Texts) -> str:
    if not judged.set_aside:
        return texts.say("fleet.method_nothing_set_aside")
    said = []
    for row in judged.set_aside:
        count = numbers.count(row.results)
        if row.reason in REASONS:
            said.append(texts.say(f"set_aside.{row.reason}", count=count))
        else:
            said.append(texts.say("set_aside.other", reason=row.reason.replace("_", " "), count=count))
    return texts.say("fleet.method_set_aside", reasons=texts.say("word.list_separator").join(said))
