"""The verdict with its rule, the counts behind it, and one sentence a check."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog.status import core_checks

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Bullets, Column, Grid, Paragraph, Section
from llmenv_cli.render.run_view import STATUS_WORDS
from llmenv_cli.render.sections.cases import MOST_ROWS
from llmenv_cli.render.sections.measured import value_in_words
from llmenv_cli.render.sections.wording import reason, title, titles, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from llmenv.catalog.texts import Texts

    from llmenv_cli.render.run_view import CheckView, RunView


def summary(view: RunView, texts: Texts) -> Section:
    """Counts by status, readiness, and the rule it follows."""
    core = [check for check in view.checks if check.is_core]
    working = f"{sum(check.works for check in core)} / {len(core)}"
    rows = [
        (texts.say("summary.planned"), str(len(view.checks))),
        *((verdict(word, texts), str(view.counts[word])) for word in STATUS_WORDS if view.counts[word]),
        *([(texts.say("summary.core_working"), working)] if core else []),
        (texts.say("summary.overall"), _overall(view, texts)),
    ]
    columns = (Column(texts.say("summary.figure")), Column(texts.say("summary.value")))
    rule = texts.say("summary.rule", checks=titles(_core_names(view), texts))
    blocks = (Grid(columns, tuple(rows)), Paragraph(readiness(view, texts)), Paragraph(rule))
    return Section(texts.say("summary.title"), blocks)


def readiness(view: RunView, texts: Texts) -> str:
    """Ready on this device, or which core checks say no; and what went wrong beside them."""
    device = view.run.device
    others = {name: word for name, word in view.troubled.items() if name not in view.blocking}
    if view.is_ready:
        said = texts.say("summary.ready_sentence", device=device)
    elif view.asked_for_readiness:
        blocking = _named(view.blocking, texts)
        said = texts.say("summary.not_ready_sentence", device=device, blocking=blocking)
    else:
        unasked = titles(view.blocking, texts)
        said = texts.say("summary.unasked_sentence", device=device, checks=unasked)
    if not others:
        return said
    return said + texts.say("summary.troubled", count=len(others), checks=_named(others, texts))


def _named(words: Mapping[str, str], texts: Texts) -> str:
    return texts.say("word.list_separator").join(
        texts.say("summary.blocking", check=title(name, texts), status=texts.say(f"status.{word}"))
        for name, word in words.items()
    )


def key_findings(view: RunView, texts: Texts) -> Section:
    """What each check found, in one sentence."""
    items = tuple(
        texts.say(
            "findings.item",
            mark=verdict(check.word, texts),
            check=title(check.name, texts),
            reason=reason(check, texts),
        )
        for check in view.checks
    )
    return Section(texts.say("findings.title"), (Bullets(items, ordered=True),))


def overview(view: RunView, texts: Texts) -> Section:
    """The same as a table for a terminal, with time and memory."""
    columns = (
        Column(texts.say("column.status")),
        Column(texts.say("column.check")),
        Column(texts.say("column.finding"), wraps=True),
        Column(texts.say("column.time"), is_number=True),
        Column(texts.say("column.peak"), is_number=True),
    )
    rows = tuple(_overview_row(check, texts) for check in view.checks)
    return Section(texts.say("summary.checks"), (Grid(columns, rows),))


def figures(view: RunView, texts: Texts) -> Section:
    """Measurements that rate: those that are better one way."""
    rows = tuple(row for check in view.executed for row in _figures_of(check, texts))
    columns = (
        Column(texts.say("column.check")),
        Column(texts.say("column.measurement"), wraps=True),
        Column(texts.say("column.value"), is_number=True),
    )
    return Section(texts.say("summary.figures"), (Grid(columns, rows),) if rows else ())


def _figures_of(check: CheckView, texts: Texts) -> Iterator[tuple[str, ...]]:
    """The check is named in its first row only; of cases, where they are few, what was timed."""
    if check.result is None:
        return
    name = title(check.name, texts)
    cases = check.result.cases if len(check.result.cases) <= MOST_ROWS else ()
    measured_by = [("", check.result.measurements), *((case.name, case.measurements) for case in cases)]
    for case_name, measurements in measured_by:
        for measured in measurements:
            if measured.direction and (measured.trials or not case_name):
                said = texts.name_of("name", measured.name)
                yield name, f"{case_name}: {said}" if case_name else said, value_in_words(measured, texts)
                name = ""


def _overall(view: RunView, texts: Texts) -> str:
    if not view.asked_for_readiness:
        return texts.say("summary.unasked")
    if not view.is_ready:
        return texts.say("summary.not_ready")
    return texts.say("summary.ready_but" if view.troubled else "summary.ready")


def _core_names(view: RunView) -> tuple[str, ...]:
    return core_checks(is_apple_silicon=view.run.machine.is_apple_silicon)


def _overview_row(check: CheckView, texts: Texts) -> tuple[str, ...]:
    result = check.result
    return (
        verdict(check.word, texts),
        title(check.name, texts),
        reason(check, texts),
        numbers.duration(result.wall_seconds) if result and result.wall_seconds else "",
        numbers.size(result.peak_memory.process_bytes) if result and result.peak_memory.process_bytes else "",
    )
