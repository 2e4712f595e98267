"""Each check in full: what it required and saw, what it measured, and how it ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Column, Grid, Paragraph, Section, Verbatim
from llmenv_cli.render.run_view import ENDED_BADLY
from llmenv_cli.render.sections.cases import case_blocks
from llmenv_cli.render.sections.measured import measurement_grid
from llmenv_cli.render.sections.wording import PROBLEM_MARK, reason, remedy, title_with_name, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Result

    from llmenv_cli.render.blocks import Block
    from llmenv_cli.render.run_view import CheckView, RunView

LOG_LINES = 15
LEAST_IMPORT_SECONDS = 0.001


def detailed(view: RunView, texts: Texts) -> Section:
    """One subsection a check, numbered in the order of the run."""
    subsections = tuple(
        Section(
            texts.say(
                "checks.heading",
                number=number,
                check=title_with_name(check.name, texts),
                status=verdict(check.word, texts),
            ),
            tuple(_blocks(check, texts)),
        )
        for number, check in enumerate(view.checks, 1)
    )
    return Section(texts.say("checks.title"), (), subsections)


def _blocks(check: CheckView, texts: Texts) -> Iterator[Block]:
    yield Paragraph(reason(check, texts))
    result = check.result
    if result is None:
        return
    if helps := remedy(check, texts):
        yield Paragraph(texts.say("checks.remedy", issue=result.remedy_id, remedy=helps))
    for grid in (
        _expectations(result, texts),
        measurement_grid(result.measurements, texts),
        _facts(result, texts),
    ):
        if grid.rows:
            yield grid
    yield from case_blocks(result.cases, texts)
    if result.HasField("measurements_withheld"):
        yield Paragraph(texts.say("checks.withheld", reason=texts.sentence(result.measurements_withheld)))
    yield Paragraph(_times(result, texts))
    if check.word in ENDED_BADLY:
        yield from _end(result, texts)
    if result.cut:
        yield Paragraph(texts.say("checks.cut", parts=", ".join(result.cut)))


def _expectations(result: Result, texts: Texts) -> Grid:
    keys = ("expectation", "met", "expected", "observed", "source")
    rows = tuple(
        (
            texts.name_of("name", expectation.name),
            "✓" if expectation.met else PROBLEM_MARK,
            texts.phrase(expectation.expected),
            texts.phrase(expectation.observed),
            texts.phrase(expectation.source),
        )
        for expectation in result.expectations
    )
    return Grid(tuple(Column(texts.say(f"column.{key}")) for key in keys), rows)


def _facts(result: Result, texts: Texts) -> Grid:
    rows = tuple((texts.name_of("name", fact.name), numbers.fact(fact, texts)) for fact in result.facts)
    return Grid((Column(texts.say("column.fact")), Column(texts.say("column.value"))), rows)


def _times(result: Result, texts: Texts) -> str:
    """A check that requires nothing imports within its own work, or not at all."""
    has_imports = result.import_seconds >= LEAST_IMPORT_SECONDS
    return texts.say(
        "checks.times" if has_imports else "checks.times_without_imports",
        device=result.device or texts.say("word.unknown"),
        parameters=_parameters(result.parameters_json) or texts.say("word.none"),
        imports=numbers.duration(result.import_seconds),
        run=numbers.duration(result.run_seconds),
        wall=numbers.duration(result.wall_seconds),
        definition=result.definition_hash or texts.say("word.unknown"),
    )


def _parameters(text: str) -> str:
    """Name and value of each; the text itself when it is no JSON object."""
    try:
        parameters = dict(json.loads(text or "{}"))
    except (ValueError, TypeError):
        return text
    return ", ".join(
        f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in parameters.items()
    )


def _end(result: Result, texts: Texts) -> Iterator[Block]:
    """How the process ended, what was raised, and the end of its log."""
    end = result.process_end
    if end.signal_name:
        yield Paragraph(texts.say("checks.signal", signal=end.signal_name))
    elif end.HasField("exit_code"):
        yield Paragraph(texts.say("checks.exit_code", code=end.exit_code))
    if result.HasField("error"):
        yield Verbatim(result.error.traceback or f"{result.error.type}: {result.error.message}")
    if result.log_tail.strip():
        yield Paragraph(texts.say("checks.log"))
        yield Verbatim("\n".join(result.log_tail.rstrip().splitlines()[-LOG_LINES:]))
