"""The cases of a table-driven check: all of them where they are few, else by group with every problem."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS

from llmenv_cli.render.blocks import Column, Grid, Paragraph
from llmenv_cli.render.sections.measured import case_figures
from llmenv_cli.render.sections.wording import verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Case

    from llmenv_cli.render.blocks import Block

# More rows than this are read by a program, not by a person.
MOST_ROWS = 40
HEALTHY = frozenset({"pass", "skip"})


def case_blocks(cases: Sequence[Case], texts: Texts) -> Iterator[Block]:
    """How many by status, then who they are, then what they measured."""
    if not cases:
        return
    yield Paragraph(texts.say("checks.cases", count=len(cases), counted=_counted(cases, texts)))
    if len(cases) <= MOST_ROWS:
        yield _each(cases, texts)
        if (figures := case_figures(cases, texts)).rows:
            yield figures
        return
    yield _groups(cases, texts)
    problems = [case for case in cases if _word(case) not in HEALTHY]
    if problems:
        yield Paragraph(texts.say("checks.problems"))
        yield _each(problems, texts)
    yield from _skipped(cases, texts)


def _each(cases: Sequence[Case], texts: Texts) -> Grid:
    columns = tuple(Column(texts.say(f"column.{key}")) for key in ("case", "status", "finding"))
    rows = tuple((case.name, verdict(_word(case), texts), texts.sentence(case.reason)) for case in cases)
    return Grid(columns, rows)


def _groups(cases: Sequence[Case], texts: Texts) -> Grid:
    """One row for the cases whose names begin alike, up to the first slash."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.name.partition("/")[0], []).append(case)
    figures = _shared_figures(cases)
    columns = (
        Column(texts.say("column.group")),
        Column(texts.say("column.cases"), is_number=True),
        Column(texts.say("column.statuses")),
        *(
            Column(texts.say("column.highest", measurement=texts.name_of("name", name)), is_number=True)
            for name in figures
        ),
    )
    rows = tuple(
        (name, str(len(group)), _counted(group, texts), *(_highest(group, figure) for figure in figures))
        for name, group in groups.items()
    )
    return Grid(columns, rows)


def _shared_figures(cases: Sequence[Case]) -> tuple[str, ...]:
    """Measurements that at least half of the cases have: the figure that the table is about."""
    counts = collections.Counter(measured.name for case in cases for measured in case.measurements)
    return tuple(name for name, count in counts.items() if 2 * count >= len(cases))


def _highest(group: Sequence[Case], figure: str) -> str:
    values = [measured.value for case in group for measured in case.measurements if measured.name == figure]
    return f"{max(values):.3g}" if values else ""


def _skipped(cases: Sequence[Case], texts: Texts) -> Iterator[Block]:
    """Each reason once: a hundred rows may be skipped for one."""
    reasons: Mapping[str, int] = collections.Counter(
        texts.sentence(case.reason) for case in cases if _word(case) == "skip"
    )
    if reasons:
        columns = (Column(texts.say("column.skipped")), Column(texts.say("column.cases"), is_number=True))
        yield Grid(columns, tuple((reason, str(count)) for reason, count in reasons.items()))


def _counted(cases: Sequence[Case], texts: Texts) -> str:
    counts = collections.Counter(_word(case) for case in cases)
    return texts.say("word.list_separator").join(
        f"{texts.say(f'status.{word}')} {count}" for word, count in counts.items()
    )


def _word(case: Case) -> str:
    return WORDS.get(case.status, "unknown")
