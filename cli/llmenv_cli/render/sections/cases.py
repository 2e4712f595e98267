"""The cases of a table-driven check: all of them where they are few, else by group with every problem."""

from __future__ import annotations

import collections
from typing import TYPE_CHECKING

from llmenv.catalog.status import WORDS

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Column, Grid, Paragraph
from llmenv_cli.render.sections.measured import case_figures
from llmenv_cli.render.sections.wording import verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.result_pb2 import Case

    from llmenv_cli.render.blocks import Block

# More rows than this are read by a program, not by a person; groups of one row each make none fewer.
MOST_ROWS = 40
MOST_UNGROUPED_ROWS = 100
HEALTHY = frozenset({"pass", "skip"})


def case_blocks(cases: Sequence[Case], texts: Texts) -> Iterator[Block]:
    """How many by status, then who they are, what they measured and what they found beside it."""
    if not cases:
        return
    yield Paragraph(texts.say("checks.cases", count=len(cases), counted=_counted(cases, texts)))
    groups = _grouped(cases)
    if len(cases) <= (MOST_UNGROUPED_ROWS if len(groups) == len(cases) else MOST_ROWS):
        yield _each(cases, texts)
        tables = (case_figures(cases, texts), _shared_facts(cases, texts), _single_facts(cases, texts))
        yield from (table for table in tables if table.rows)
        return
    yield _groups(groups, cases, texts)
    problems = [case for case in cases if _word(case) not in HEALTHY]
    if problems:
        yield Paragraph(texts.say("checks.problems"))
        yield _each(problems, texts)
    yield from _skipped(cases, texts)


def _each(cases: Sequence[Case], texts: Texts) -> Grid:
    columns = tuple(Column(texts.say(f"column.{key}")) for key in ("case", "status", "finding"))
    rows = tuple((case.name, verdict(_word(case), texts), texts.sentence(case.reason)) for case in cases)
    return Grid(columns, rows)


def _shared_facts(cases: Sequence[Case], texts: Texts) -> Grid:
    """A column for each fact that at least half of the cases have, such as the issue of a canary."""
    names = _shared(cases)
    columns = (texts.say("column.case"), *(texts.name_of("name", name) for name in names))
    rows = tuple(
        (case.name, *(_fact(case, name, texts) for name in names))
        for case in cases
        if names and any(fact.name in names for fact in case.facts)
    )
    return Grid(tuple(Column(title) for title in columns), rows)


def _single_facts(cases: Sequence[Case], texts: Texts) -> Grid:
    """A row for each of the others."""
    columns = tuple(Column(texts.say(f"column.{key}")) for key in ("case", "fact", "value"))
    shared = _shared(cases)
    return Grid(
        columns,
        tuple(
            (case.name, texts.name_of("name", fact.name), numbers.fact(fact, texts))
            for case in cases
            for fact in case.facts
            if fact.name not in shared
        ),
    )


def _shared(cases: Sequence[Case]) -> tuple[str, ...]:
    counts = collections.Counter(name for case in cases for name in {fact.name for fact in case.facts})
    ordered = dict.fromkeys(fact.name for case in cases for fact in case.facts)
    return tuple(name for name in ordered if 2 * counts[name] >= len(cases))


def _fact(case: Case, name: str, texts: Texts) -> str:
    found = [numbers.fact(fact, texts) for fact in case.facts if fact.name == name]
    return texts.say("word.list_separator").join(found)


def _grouped(cases: Sequence[Case]) -> dict[str, list[Case]]:
    """Those whose names begin alike, up to the first slash."""
    groups: dict[str, list[Case]] = {}
    for case in cases:
        groups.setdefault(case.name.partition("/")[0], []).append(case)
    return groups


def _groups(groups: Mapping[str, Sequence[Case]], cases: Sequence[Case], texts: Texts) -> Grid:
    """One row a group."""
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
