"""Known issues against what is installed and what was tried: proof, refutation, or neither."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv_cli.render.blocks import Paragraph, Section
from llmenv_cli.render.fleet import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import ExposureRow


def exposures(rows: Sequence[ExposureRow], *, machines: int, texts: Texts) -> Section:
    """What was tried, confirmed ones first; `machines` is how many there are, 0 where that is not known."""
    tried = [row for row in rows if row.reproduced or row.not_reproduced]
    ranked = sorted(tried, key=lambda row: (not row.reproduced, is_refuted(row), -len(row.exposed)))
    between = texts.say("word.sentence_separator")
    items = [between.join(_sentences(row, machines, texts)) for row in ranked]
    untried = _untried([row for row in rows if not (row.reproduced or row.not_reproduced)], texts)
    return Section(
        texts.say("fleet.exposures"),
        tuple(words.bullets(items, texts)),
        (untried,) if untried.blocks else (),
    )


def _untried(rows: Sequence[ExposureRow], texts: Texts) -> Section:
    """A row an issue, the most severe first."""
    columns = (
        words.column("issue", texts),
        words.column("severity", texts),
        words.column("machines", texts, is_number=True),
        words.column("what", texts, wraps=True),
        words.column("affected", texts, wraps=True),
    )
    ranked = sorted(rows, key=lambda row: (-words.severity_of(row.issue_id), -len(row.exposed)))
    cells = [
        (
            row.issue_id,
            words.severity(row.issue_id, texts),
            str(len(row.exposed)),
            words.issue_words(row.issue_id, texts)[0],
            words.names(row.versions, texts),
        )
        for row in ranked
    ]
    note = (Paragraph(texts.say("fleet.untried_note")),) if cells else ()
    return Section(texts.say("fleet.untried_title"), (*note, *words.table(columns, cells, texts)))


def certainty(row: ExposureRow) -> str:
    """Whether the bug was seen here, or somebody reported it."""
    return "confirmed" if row.reproduced else "reported"


def is_refuted(row: ExposureRow) -> bool:
    """Whether it was tried on every machine, and seen on none."""
    return not row.reproduced and set(row.exposed) <= set(row.not_reproduced)


def _sentences(row: ExposureRow, machines: int, texts: Texts) -> Iterator[str]:
    title, remedy = words.issue_words(row.issue_id, texts)
    key = "exposure_versions" if row.versions else "exposure_plain"
    values: dict[str, object] = {"machines": machines}
    if row.versions:
        values["versions"] = words.names(row.versions, texts)
    if not machines:
        key, values = "exposure_count", {}
    yield texts.say(
        f"fleet.{key}",
        count=len(row.exposed),
        certainty=texts.say(f"fleet.certainty_{certainty(row)}"),
        title=title,
        issue=row.issue_id,
        **values,
    )
    tried = {*row.reproduced, *row.not_reproduced}
    untried = [name for name in row.exposed if name not in tried]
    for outcome, hostnames in (
        ("reproduced", row.reproduced),
        ("not_reproduced", row.not_reproduced),
        ("untried", untried),
    ):
        if hostnames:
            yield texts.say(f"fleet.{outcome}", machines=words.names(hostnames, texts))
    if remedy and not is_refuted(row):
        yield texts.say("fleet.exposure_remedy", remedy=remedy)
