"""The matrix of machines by checks, and which environments are not fit for training, and why.

A check that passed wherever it is shown has no column: its name is said once below.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llmenv_cli.fleet_verdict import verdict_words
from llmenv_cli.render.blocks import Bullets, Column, Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.sections.wording import MARKS, PROBLEM_MARK, title, titles, when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse, HealthRow

    from llmenv_cli.render.blocks import Block

# Machines that are named of those that are all alike.
MOST_ALIKE = 3
# Columns of one matrix, so that it fits 80 columns beside the machine.
MOST_CHECKS = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """What a line of the matrix is of: one row, or several with the same verdicts, the newest for all."""

    machines: str
    chips: str
    row: HealthRow
    verdicts: Mapping[str, str]

    @classmethod
    def of(cls, rows: Sequence[HealthRow], texts: Texts) -> Line:
        newest = max(rows, key=lambda row: row.started_at.ToNanoseconds())
        return cls(
            machines=words.names((row.hostname for row in rows), texts, most=MOST_ALIKE),
            chips=words.names((row.chip for row in rows), texts, most=1),
            row=newest,
            verdicts=verdict_words(newest),
        )


def health(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """A row an environment on a machine and device."""
    return Section(texts.say("fleet.health"), tuple(_blocks(answer, texts)) if answer.health else ())


def _blocks(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    lines = _lines(answer.health, texts)
    everything = sorted({name for line in lines for name in line.verdicts})
    passed = [name for name in everything if all(line.verdicts.get(name) == "pass" for line in lines)]
    telling = [name for name in everything if name not in passed]
    for start in range(0, max(len(telling), 1), MOST_CHECKS):
        yield from _matrix(lines, telling[start : start + MOST_CHECKS], start, texts)
    if telling:
        yield Paragraph(texts.say("fleet.matrix_marks"))
    if passed and telling:
        yield Paragraph(texts.say("fleet.all_pass_everywhere", checks=titles(passed, texts)))
    if not telling:
        yield Paragraph(texts.say("fleet.every_check_passed"))
    yield from _not_ready(answer.health, texts)


def _lines(rows: Sequence[HealthRow], texts: Texts) -> list[Line]:
    """A line a row; in a large fleet a line for all that are alike, those that are not ready first."""
    if len(rows) <= words.MOST_ROWS:
        return [Line.of([row], texts) for row in rows]
    alike: dict[tuple[object, ...], list[HealthRow]] = {}
    for row in rows:
        verdicts = tuple(verdict_words(row).items())
        key = (row.readiness.is_ready, verdicts, row.environment_name, row.device)
        alike.setdefault(key, []).append(row)
    groups = sorted(alike.values(), key=lambda group: (group[0].readiness.is_ready, len(group)))
    return [Line.of(group, texts) for group in groups]


def _matrix(lines: list[Line], checks: list[str], start: int, texts: Texts) -> Iterator[Block]:
    numbered = [(str(start + index + 1), name) for index, name in enumerate(checks)]
    columns = (
        words.column("machine", texts, wraps=True),
        words.column("ready", texts),
        *(Column(number) for number, _ in numbered),
        words.column("environment", texts, is_optional=True),
        words.column("device", texts, is_optional=True),
        words.column("chip", texts, is_optional=True),
        words.column("started_at", texts, is_optional=True),
    )
    cells = [
        (
            line.machines,
            texts.say("word.mark_yes" if line.row.readiness.is_ready else "word.mark_no"),
            *(_mark(line.verdicts.get(name, "unknown")) for _, name in numbered),
            line.row.environment_name,
            line.row.device,
            line.chips,
            when_in_column(line.row.started_at),
        )
        for line in lines
    ]
    yield from words.table(columns, cells, texts)
    if numbered:
        legend = texts.say("word.list_separator").join(
            texts.say("fleet.matrix_numbered", number=number, check=title(name, texts))
            for number, name in numbered
        )
        yield Paragraph(texts.say("fleet.matrix_legend", checks=legend))


def _mark(word: str) -> str:
    return MARKS.get(word, PROBLEM_MARK)


def _not_ready(rows: Sequence[HealthRow], texts: Texts) -> Iterator[Block]:
    troubled = [row for row in rows if not row.readiness.is_ready]
    if troubled:
        yield Paragraph(texts.say("fleet.not_ready"))
        yield Bullets(
            tuple(
                texts.say("fleet.not_ready_item", place=words.place(row, texts), checks=blocked(row, texts))
                for row in troubled[: words.MOST_ROWS]
            )
        )
    if len(troubled) > words.MOST_ROWS:
        yield Paragraph(texts.say("fleet.rows_left_out", count=len(troubled) - words.MOST_ROWS))


def blocked(row: HealthRow, texts: Texts) -> str:
    """Such as "PyTorch basics (fail), MLX (unknown)"."""
    return texts.say("word.list_separator").join(
        texts.say("summary.blocking", check=title(name, texts), status=texts.say(f"status.{word}"))
        for name, word in sorted(row.readiness.blocking.items())
    )
