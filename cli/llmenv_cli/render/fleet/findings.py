"""What does not pass, each cause once, with its machines and remedy; what somebody knows of stands apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS

from llmenv_cli.fleet_verdict import FAILING, acknowledged_findings, open_findings
from llmenv_cli.render.blocks import Section
from llmenv_cli.render.fleet import words
from llmenv_cli.render.sections.wording import title, verdict, when, when_in_column

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import FindingRow, GetFleetReportResponse


def findings(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """Failures before warnings and what was skipped."""
    rows = sorted(open_findings(answer), key=lambda row: WORDS.get(row.status) not in FAILING)
    columns = (
        words.column("status", texts),
        words.column("check", texts, wraps=True),
        words.column("finding", texts, wraps=True),
        words.column("machines", texts, wraps=True),
        words.column("remedy", texts, wraps=True),
        words.column("first_seen_at", texts, is_optional=True),
    )
    cells = [
        (*_cells(row, texts), _remedy_cell(row, texts), when_in_column(row.first_seen_at)) for row in rows
    ]
    known = _acknowledged(answer, texts)
    return Section(
        texts.say("fleet.findings"),
        tuple(words.table(columns, cells, texts)),
        (known,) if known.blocks else (),
    )


def _acknowledged(answer: GetFleetReportResponse, texts: Texts) -> Section:
    columns = (
        words.column("status", texts),
        words.column("check", texts, wraps=True),
        words.column("finding", texts, wraps=True),
        words.column("machines", texts, wraps=True),
        words.column("acknowledged", texts, wraps=True),
    )
    rows = [(*_cells(row, texts), _note(row, texts)) for row in acknowledged_findings(answer)]
    return Section(texts.say("fleet.acknowledged"), tuple(words.table(columns, rows, texts)))


def _cells(row: FindingRow, texts: Texts) -> tuple[str, ...]:
    return (
        verdict(WORDS.get(row.status, "unknown"), texts),
        title(row.check_name, texts),
        texts.sentence(row.reason),
        words.names(row.hostnames, texts),
    )


def _remedy_cell(row: FindingRow, texts: Texts) -> str:
    """What helps, after the note that it was acknowledged once."""
    said = [remedy(row, texts)]
    if row.HasField("acknowledgement"):
        note = row.acknowledgement
        expired = texts.say("fleet.expired_cell", by=note.acknowledged_by, until=when(note.expires_at))
        said.insert(0, expired)
    return texts.say("word.sentence_separator").join(filter(None, said))


def remedy(row: FindingRow, texts: Texts) -> str:
    """By the catalogue; the key alone where a newer catalogue has more."""
    issue = known_issues.find(row.remedy_id)
    return f"{issue.id}: {texts.pick(issue.remedy)}" if issue is not None else row.remedy_id


def _note(row: FindingRow, texts: Texts) -> str:
    note = row.acknowledgement
    return texts.say(
        "fleet.acknowledged_cell",
        until=when(note.expires_at),
        by=note.acknowledged_by,
        reason=note.reason,
    )
