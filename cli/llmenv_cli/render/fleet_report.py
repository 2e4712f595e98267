"""The fleet report: what it is based on, who is ready, and what differs by chip and package version."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from llmenv.catalog import known_issues
from llmenv.catalog.status import WORDS
from llmenv.catalog.texts import texts as texts_in
from llmenv.fleet.v1.result_pb2 import DIRECTION_UNSPECIFIED

from llmenv_cli.render import numbers
from llmenv_cli.render.blocks import Column, Grid, Paragraph, Report, Section
from llmenv_cli.render.run_view import STATUS_WORDS
from llmenv_cli.render.sections.wording import title, verdict, when, when_in_column

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_report_pb2 import (
        ChipRow,
        FindingRow,
        GetFleetReportResponse,
        HealthRow,
        PackageRow,
    )

    from llmenv_cli.render.blocks import Block


def fleet_report(answer: GetFleetReportResponse, *, language: str) -> Report:
    """Sections without a row are left out, except the coverage."""
    texts = texts_in(language)
    sections = (
        coverage(answer, texts),
        health(answer, texts),
        findings(answer, texts),
        chips(answer, texts),
        packages(answer, texts),
    )
    return Report(
        texts.say("fleet.report_title"),
        tuple(section for section in sections if section.blocks or section.subsections),
    )


def verdict_words(row: HealthRow) -> dict[str, str]:
    """Status word by check; core checks that never ran there are unknown."""
    executed = {name: WORDS.get(status, "unknown") for name, status in row.statuses.items()}
    return dict(sorted((dict(row.readiness.blocking) | executed).items()))


def coverage(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """Machines that report and machines that do not: silence is never shown as health."""
    return Section(texts.say("fleet.coverage"), tuple(_coverage(answer, texts)))


def health(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """A row an environment on a machine and device; a check that never ran there is unknown."""
    columns = (
        _column("machine", texts),
        _column("ready", texts),
        _column("finding", texts, wraps=True),
        _column("environment", texts),
        _column("device", texts, is_optional=True),
        _column("chip", texts, is_optional=True),
        _column("started_at", texts, is_optional=True),
    )
    return _table(texts.say("fleet.health"), columns, tuple(_health_row(row, texts) for row in answer.health))


def findings(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """Causes, each once, with its machines and remedy."""
    columns = (
        _column("status", texts),
        _column("check", texts),
        _column("finding", texts, wraps=True),
        _column("machines", texts),
        _column("remedy", texts, wraps=True),
    )
    return _table(
        texts.say("fleet.findings"), columns, tuple(_finding_row(row, texts) for row in answer.findings)
    )


def chips(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """What is fast and what it takes, a table a check; the chips to compare stand below one another.

    Losses, errors and counts judge a check and do not rate a chip: `--format csv` and `json` have them.
    """
    rating = sorted(
        (row for row in answer.chips if rates_a_chip(row)),
        key=lambda row: (row.series.check_name, row.series.measurement, row.series.device, row.variant.chip),
    )
    tables = tuple(
        Section(
            title(name, texts), (Grid(_chip_columns(texts), tuple(_chip_row(row, texts) for row in rows)),)
        )
        for name, rows in itertools.groupby(rating, key=lambda row: row.series.check_name)
    )
    return Section(texts.say("fleet.chips"), (), tables)


def rates_a_chip(row: ChipRow) -> bool:
    """A rate, a time or an amount of memory, of which more or less is better."""
    unit = row.series.unit
    is_quantity = unit in ("s", "byte") or unit.endswith("/s") or unit == "1/ms"
    return is_quantity and row.series.direction != DIRECTION_UNSPECIFIED


def packages(answer: GetFleetReportResponse, texts: Texts) -> Section:
    """Versions in use and how runs with each went."""
    columns = (
        _column("package", texts),
        _column("version", texts),
        _column("machines", texts, is_number=True),
        _column("statuses", texts, wraps=True),
    )
    return _table(
        texts.say("fleet.packages"), columns, tuple(_package_row(row, texts) for row in answer.packages)
    )


def _coverage(answer: GetFleetReportResponse, texts: Texts) -> Iterator[Block]:
    based_on = answer.coverage
    yield Paragraph(
        texts.say(
            "fleet.based_on",
            reporting=based_on.reporting,
            machines=based_on.machines,
            runs=f"{based_on.runs:,}",
            results=f"{based_on.results:,}",
        )
    )
    if based_on.HasField("freshest_run_at"):
        yield Paragraph(
            texts.say(
                "fleet.period", oldest=when(based_on.oldest_run_at), freshest=when(based_on.freshest_run_at)
            )
        )
    ready = sum(row.readiness.is_ready for row in answer.health)
    yield Paragraph(texts.say("fleet.ready", ready=ready, total=len(answer.health)))
    if based_on.silent:
        yield Paragraph(
            texts.say("fleet.silent", machines=", ".join(one.hostname for one in based_on.silent))
        )
    if based_on.pending:
        yield Paragraph(texts.say("fleet.pending", count=based_on.pending))


def _health_row(row: HealthRow, texts: Texts) -> tuple[str, ...]:
    ready = texts.say("word.mark_yes" if row.readiness.is_ready else "word.mark_no")
    words = verdict_words(row)
    troubles = [
        texts.say("summary.blocking", check=title(name, texts), status=texts.say(f"status.{word}"))
        for name, word in words.items()
        if word != "pass"
    ]
    finding = texts.say("word.list_separator").join(troubles) or texts.say("fleet.all_pass", count=len(words))
    started = when_in_column(row.started_at)
    return row.hostname, ready, finding, row.environment_name, row.device, row.chip, started


def _finding_row(row: FindingRow, texts: Texts) -> tuple[str, ...]:
    issue = known_issues.find(row.remedy_id)
    remedy = f"{issue.id}: {texts.pick(issue.remedy)}" if issue is not None else row.remedy_id
    status = verdict(WORDS.get(row.status, "unknown"), texts)
    return status, title(row.check_name, texts), texts.sentence(row.reason), ", ".join(row.hostnames), remedy


def _chip_row(row: ChipRow, texts: Texts) -> tuple[str, ...]:
    variant = [row.variant.chip]
    if row.variant.HasField("gpu_cores"):
        variant.append(texts.say("header.gpu_cores", count=row.variant.gpu_cores))
    if row.variant.HasField("memory_bytes"):
        variant.append(numbers.memory(row.variant.memory_bytes))
    low, high = (numbers.quantity(value, row.series.unit, texts) for value in (row.lowest, row.highest))
    return (
        texts.name_of("name", row.series.measurement),
        texts.say("word.list_separator").join(variant),
        row.series.device,
        numbers.quantity(row.median.value, row.series.unit, texts),
        texts.say("fleet.range", low=low, high=high) if row.machines > 1 else "",
        str(row.machines),
    )


def _package_row(row: PackageRow, texts: Texts) -> tuple[str, ...]:
    counts = ", ".join(
        f"{texts.say(f'status.{word}')} {row.status_counts[word]}"
        for word in STATUS_WORDS
        if row.status_counts[word]
    )
    return row.package, row.version, str(row.machines), counts


def _chip_columns(texts: Texts) -> tuple[Column, ...]:
    return (
        _column("measurement", texts, wraps=True),
        _column("chip", texts, wraps=True),
        _column("device", texts),
        _column("median", texts, is_number=True),
        _column("range", texts, is_number=True, is_optional=True),
        _column("machines", texts, is_number=True),
    )


def _column(
    key: str, texts: Texts, *, is_number: bool = False, wraps: bool = False, is_optional: bool = False
) -> Column:
    return Column(texts.say(f"column.{key}"), is_number, wraps, is_optional)


def _table(heading: str, columns: tuple[Column, ...], rows: tuple[tuple[str, ...], ...]) -> Section:
    return Section(heading, (Grid(columns, rows),) if rows else ())
