"""The matrix of machines by checks, and which environments are not fit for training, and why.

A check that passed wherever it is shown has no column: its name is said once below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.fleet_verdict import verdict_words
from llmenv_cli.render.blocks import Bullets, Column, Grid, Paragraph, Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.sections.wording import MARKS, PROBLEM_MARK, title, titles, when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportResponse, HealthRow

    from llmenv_cli.render.blocks import Block

# Columns of one matrix, so that it fits 80 columns beside the machine.
MOST_CHECKS = 10


def health(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """A row an environment on a machine and device."""
    return Section(texts.say("fleet.health"), tuple(_blocks(answer, texts)) if answer.health else ())


def _blocks(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    rows, left_out = _shown(answer.health)
    verdicts = [verdict_words(row) for row in rows]
    everything = sorted({name for verdict in verdicts for name in verdict})
    passed = [name for name in everything if all(one.get(name) == "pass" for one in verdicts)]
    telling = [name for name in everything if name not in passed]
    for start in range(0, max(len(telling), 1), MOST_CHECKS):
        yield from _matrix(rows, verdicts, telling[start : start + MOST_CHECKS], start, texts)
    if telling:
        yield Paragraph(texts.say("fleet.matrix_marks"))
    if passed and telling:
        yield Paragraph(texts.say("fleet.all_pass_everywhere", checks=titles(passed, texts)))
    if not telling:
        yield Paragraph(texts.say("fleet.every_check_passed"))
    if left_out:
        yield Paragraph(texts.say("fleet.healthy_left_out", count=left_out))
    yield from _not_ready(answer.health, texts)


def _shown(rows: Sequence[HealthRow]) -> tuple[list[HealthRow], int]:
    """All of a small fleet; of a large one those that are not well, and how many are left out."""
    if len(rows) <= words.MOST_ROWS:
        return list(rows), 0
    unwell = [row for row in rows if set(verdict_words(row).values()) != {"pass"}]
    shown = unwell or list(rows[: words.MOST_ROWS])
    return shown, len(rows) - len(shown)


def _matrix(
    rows: list[HealthRow], verdicts: list[dict[str, str]], checks: list[str], start: int, texts: Texts
) -> Iterator[Block]:
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
    cells = tuple(
        (
            row.hostname,
            texts.say("word.mark_yes" if row.readiness.is_ready else "word.mark_no"),
            *(_mark(verdict.get(name, "unknown")) for _, name in numbered),
            row.environment_name,
            row.device,
            row.chip,
            when_in_column(row.started_at),
        )
        for row, verdict in zip(rows, verdicts, strict=True)
    )
    yield Grid(columns, cells)
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
