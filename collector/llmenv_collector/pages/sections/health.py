"""Health: verdicts of machines by checks as a picture, and who is fit for training in words."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from llmenv.catalog.status import APPLE_SILICON_CORE_CHECKS, WORDS
from markupsafe import Markup

from llmenv_collector.pages.blocks import (
    MOST_ROWS,
    Block,
    Cell,
    Column,
    Legend,
    Paragraph,
    Section,
    Table,
    Wide,
)
from llmenv_collector.pages.wording import SEVERITY, SIGNS
from llmenv_collector.plot import matrix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv.fleet.v1 import fleet_report_pb2 as messages

    from llmenv_collector.pages.wording import Wording

LETTERS = {word: sign.replace("○", "–") for word, sign in SIGNS.items()}  # noqa: RUF001 (a dash on purpose)


def section(rows: Sequence[messages.HealthRow], wording: Wording) -> Section:
    ranked = sorted(rows, key=rank)
    blocks: list[Block] = [Paragraph(wording.say("pages_health.lead"), "lead")]
    if ranked:
        blocks += [picture(ranked[:MOST_ROWS], wording), table(ranked, wording)]
    else:
        blocks.append(Paragraph(wording.say("pages.nothing"), "note"))
    return Section("health", wording.say("pages_section.health"), tuple(blocks))


def words_of(row: messages.HealthRow) -> dict[str, str]:
    """Status word by check; core checks that never ran there are unknown."""
    executed = {name: WORDS.get(status, "unknown") for name, status in row.statuses.items()}
    return dict(row.readiness.blocking) | executed


def rank(row: messages.HealthRow) -> tuple[bool, tuple[int, ...], str, str, str]:
    """Those that need somebody first, then by name."""
    counted = Counter(words_of(row).values())
    troubles = tuple(-counted[word] for word in SEVERITY if word not in {"pass", "skip"})
    return row.readiness.is_ready, troubles, row.hostname, row.environment_name, row.device


def picture(rows: Sequence[messages.HealthRow], wording: Wording) -> Wide:
    verdicts = [words_of(row) for row in rows]
    names = checks_of(verdicts)
    counted = Counter(words.get(name, "unknown") for words in verdicts for name in names)
    counts = wording.listed(
        wording.say("pages_health.count", status=wording.word(word), count=f"{counted[word]:,}")
        for word in SIGNS
        if counted[word]
    )
    title = wording.say("pages_health.matrix")
    drawn = matrix.Matrix(
        identity="health-matrix",
        title=title,
        description=wording.say(
            "pages_health.matrix_about", rows=len(rows), columns=len(names), counts=counts
        ),
        columns=tuple(wording.check(name) for name in names),
        rows=tuple(
            matrix.MatrixRow(
                label=label(row, rows), cells=tuple(words.get(name, "unknown") for name in names)
            )
            for row, words in zip(rows, verdicts, strict=True)
        ),
        verdicts={
            word: matrix.Verdict(class_=f"v-{word}", letter=LETTERS[word], name=wording.word(word))
            for word in SIGNS
        },
    )
    legend = Legend(
        tuple(
            Cell(f"{wording.word(word)} {counted[word]:,}", mark=f"v-{word}", sign=LETTERS[word])
            for word in SIGNS
            if counted[word]
        )
    )
    return Wide(title, Markup(matrix.render(drawn)), legend)  # noqa: S704 (escaped by plot)


def checks_of(verdicts: Sequence[dict[str, str]]) -> list[str]:
    """Core checks first, the others by name."""
    found = set().union(*verdicts)
    core = [name for name in APPLE_SILICON_CORE_CHECKS if name in found]
    return core + sorted(found.difference(core))


def label(row: messages.HealthRow, rows: Sequence[messages.HealthRow]) -> str:
    """As short as tells the rows apart."""
    parts = [row.hostname]
    if len({one.environment_name for one in rows}) > 1:
        parts.append(row.environment_name)
    if len({one.device for one in rows}) > 1:
        parts.append(row.device)
    return " · ".join(parts)


def table(rows: Sequence[messages.HealthRow], wording: Wording) -> Table:
    columns = (
        Column(wording.column("machine")),
        Column(wording.column("ready")),
        Column(wording.column("not_well"), is_wide=True),
        Column(wording.column("environment")),
        Column(wording.column("device")),
        Column(wording.column("chip")),
        Column(wording.column("last_run"), is_number=True),
    )
    return Table(
        identity="fitness",
        caption=wording.say("pages_health.table"),
        columns=columns,
        rows=tuple(table_row(row, wording) for row in rows),
    )


def table_row(row: messages.HealthRow, wording: Wording) -> tuple[Cell, ...]:
    is_ready = row.readiness.is_ready
    word = "yes" if is_ready else "no"
    return (
        wording.machine(row.machine_id, row.hostname),
        Cell(
            wording.say(f"word.{word}"),
            key=float(is_ready),
            mark="v-pass" if is_ready else "v-fail",
            sign=SIGNS["pass" if is_ready else "fail"],
        ),
        troubles(words_of(row), wording),
        Cell(row.environment_name),
        Cell(row.device),
        Cell(row.chip),
        wording.when(row.started_at),
    )


def troubles(words: dict[str, str], wording: Wording) -> Cell:
    """Checks that are not pass, what is worst first; skips do not count as trouble."""
    found = sorted(
        (name for name, word in words.items() if word not in {"pass", "skip"}),
        key=lambda name: (SEVERITY.index(words[name]), name),
    )
    if not found:
        passed = sum(word == "pass" for word in words.values())
        return Cell(wording.say("pages_health.fine", count=passed), key=0.0)
    said = [
        wording.say("pages_health.trouble", check=wording.check(name), status=wording.word(words[name]))
        for name in found
    ]
    return Cell(wording.listed(said), key=float(len(found)))
