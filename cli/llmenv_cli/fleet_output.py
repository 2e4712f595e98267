"""Prints a fleet report, a comparison or an answer on an upgrade, in each format."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from llmenv_cli import destination

if TYPE_CHECKING:
    from pathlib import Path

    from google.protobuf.message import Message
    from llmenv.fleet.v1.fleet_report_pb2 import (
        CheckUpgradeResponse,
        CompareFleetResponse,
        GetFleetReportResponse,
    )

    from llmenv_cli.render.blocks import Report
    from llmenv_cli.render.listing import Listing


def print_report(
    answer: GetFleetReportResponse,
    *,
    by: str | None,
    output_format: str,
    language: str,
    file: Path | None = None,
) -> None:
    """Every format but html, which the collector renders."""
    match output_format:
        case "json":
            destination.write_text(_json(answer), file)
        case "csv":
            from llmenv_cli.render.fleet.tables import CSV_TABLES, tables

            destination.write_text(_csv(tables(answer)[CSV_TABLES.get(by or "", "verdicts")]), file)
        case "junit":
            from llmenv.catalog.texts import texts

            from llmenv_cli.render.fleet.junit import junit

            destination.write_text(junit(answer, texts(language)), file)
        case "xlsx":
            from llmenv_cli.render.fleet.tables import tables

            _write_workbook(tables(answer), answer, title="llmenv fleet report", file=file)
        case _:
            from llmenv.fleet.v1.fleet_report_pb2 import Axis

            from llmenv_cli.render.fleet.report import fleet_report

            axis = Axis.Value(f"AXIS_{by.upper()}") if by else Axis.AXIS_UNSPECIFIED
            report = fleet_report(answer, language=language, by=axis)
            print_blocks(report, output_format=output_format, file=file)


def print_comparison(
    answer: CompareFleetResponse,
    *,
    sides: tuple[str, str],
    output_format: str,
    language: str,
    file: Path | None = None,
) -> None:
    """Every format but html, which the collector renders; csv holds the effects."""
    name = f"llmenv fleet compare {sides[0]} {sides[1]}"
    match output_format:
        case "json":
            destination.write_text(_json(answer), file)
        case "csv":
            destination.write_text(_csv(_effects(answer)), file)
        case "junit":
            from llmenv.catalog.texts import texts

            from llmenv_cli.render.fleet.judged_junit import comparison_junit

            destination.write_text(
                comparison_junit(answer, sides=sides, name=name, texts=texts(language)), file
            )
        case "xlsx":
            from llmenv_cli.render.fleet.tables import comparison_tables

            _write_workbook(comparison_tables(answer), answer, title=name, file=file)
        case _:
            from llmenv_cli.render.fleet.comparison import comparison

            report = comparison(answer, sides=sides, language=language)
            print_blocks(report, output_format=output_format, file=file)


def print_upgrade(
    answer: CheckUpgradeResponse,
    *,
    requirement: str,
    output_format: str,
    language: str,
    file: Path | None = None,
) -> None:
    """Every format but html, which the collector renders; csv holds the effects."""
    name = f"llmenv fleet upgrade-check {requirement}"
    match output_format:
        case "json":
            destination.write_text(_json(answer), file)
        case "csv":
            destination.write_text(_csv(_effects(answer)), file)
        case "junit":
            from llmenv.catalog.texts import texts

            from llmenv_cli.render.fleet.judged_junit import upgrade_junit

            destination.write_text(upgrade_junit(answer, name=name, texts=texts(language)), file)
        case "xlsx":
            from llmenv_cli.render.fleet.tables import upgrade_tables

            _write_workbook(upgrade_tables(answer, requirement=requirement), answer, title=name, file=file)
        case _:
            from llmenv_cli.render.fleet.upgrade import upgrade

            report = upgrade(answer, requirement=requirement, language=language)
            print_blocks(report, output_format=output_format, file=file)


def print_blocks(report: Report, *, output_format: str, file: Path | None = None) -> None:
    """As Markdown, or for a terminal."""
    if output_format == "md":
        from llmenv_cli.render.markdown import markdown

        destination.write_text(markdown(report), file)
        return
    from llmenv_cli.render.terminal import write_report

    stream = sys.stdout if file is None else io.StringIO()
    write_report(report, stream)
    if isinstance(stream, io.StringIO):
        destination.write_text(stream.getvalue(), file)


def _effects(answer: CompareFleetResponse | CheckUpgradeResponse) -> Listing:
    from llmenv.fleet.v1.fleet_report_pb2 import EffectRow

    from llmenv_cli.render.fleet.tables import listing

    return listing(EffectRow, answer.effects)


def _write_workbook(
    tables: dict[str, Listing],
    answer: GetFleetReportResponse | CompareFleetResponse | CheckUpgradeResponse,
    *,
    title: str,
    file: Path | None,
) -> None:
    from llmenv_cli.render.fleet.workbook import workbook

    content = workbook(tables, title=title, created=answer.generated_at.ToDatetime())
    destination.write_bytes([content], file)


def _json(message: Message) -> str:
    from llmenv.message_json import text_of

    return text_of(message)


def _csv(table: Listing) -> str:
    from llmenv_cli.render.fleet.tables import for_spreadsheets
    from llmenv_cli.render.listing import write_listing

    stream = io.StringIO()
    write_listing(for_spreadsheets(table), output_format="csv", stream=stream)
    return stream.getvalue()
