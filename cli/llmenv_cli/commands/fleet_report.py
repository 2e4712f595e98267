"""llmenv fleet report, compare and upgrade-check: what differs, by how much, and whether it is real."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from llmenv_cli import destination, options, report_options, settings

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv.fleet.v1.fleet_report_pb2 import GetFleetReportRequest, GetFleetReportResponse

    from llmenv_cli.client import FleetClient
    from llmenv_cli.exit_codes import ExitCode
    from llmenv_cli.fleet_verdict import Verdict

REPORT_HELP = """Report on the fleet: what to do, what it is based on, and what differs.

Exits with 1 when a machine is not ready, a check fails that nobody acknowledged, or something became worse;
with 4 when a part could not be said, such as of machines that are silent; stderr says which.  A csv holds
one table: without --by or by machine the verdicts, by chip the chips, by package or macos the effects of
versions, by check the findings.
"""
COMPARE_HELP = """Compare two machines, chips, versions or dates: CANDIDATE against BASELINE.

Each is a machine by hostname or id, a chip such as 'Apple M2 Ultra', a version such as torch==2.11.0, or a
date such as 2026-11-25, and both are of one kind.  Exits with 1 when CANDIDATE is worse in something, with
4 when nothing of the two could be compared.  A csv holds the differences of measurements.
"""
UPGRADE_HELP = """Say whether the fleet may move to a version, such as torch==2.11.0, with the evidence.

Exits with 0 when it is safe: tried on every chip variant, and nothing is worse; with 1 when it is not; with
4 when there is not enough evidence to say.  A csv holds the differences of measurements.
"""


@click.command(help=REPORT_HELP)
@report_options.comparison
@report_options.selection
@report_options.period
@report_options.strictness
@click.option("--explain", is_flag=True, help="Print the SQL behind each section as well.")
@report_options.report_format
@report_options.output
@options.language
def report(
    *,
    by: str | None,
    package: str,
    baseline: str | None,
    candidate: str | None,
    chip: str | None,
    pin: Path | None,
    where: str,
    checks: tuple[str, ...],
    since: dt.timedelta | str | None,
    as_of: dt.datetime | None,
    minimum_effect: float | None,
    false_discovery_rate: float | None,
    explain: bool,
    output_format: str,
    file: Path | None,
    language: str,
) -> ExitCode:
    request = _request(
        since,
        by=by,
        package=package,
        baseline=baseline or "",
        candidate=candidate or "",
        chip=chip or "",
        pins=_pins(pin),
        where=where,
        checks=checks,
        as_of=as_of,
        minimum_effect=minimum_effect or 0.0,
        false_discovery_rate=false_discovery_rate or 0.0,
        explain=explain,
    )
    _require(output_format, file)
    answer = _ask(request, output_format=output_format, file=file, language=language)
    if output_format != "html":
        from llmenv_cli.fleet_output import print_report

        print_report(answer, by=by, output_format=output_format, language=language, file=file)
    from llmenv.catalog.texts import texts

    from llmenv_cli.fleet_verdict import report_verdict

    return _end(report_verdict(answer, by=request.by, texts=texts(language)))


@click.command(help=COMPARE_HELP)
@click.argument("baseline", metavar="BASELINE")
@click.argument("candidate", metavar="CANDIDATE")
@report_options.selection
@report_options.period
@report_options.strictness
@report_options.report_format
@report_options.output
@options.language
def compare(
    *,
    baseline: str,
    candidate: str,
    where: str,
    checks: tuple[str, ...],
    since: dt.timedelta | str | None,
    as_of: dt.datetime | None,
    minimum_effect: float | None,
    false_discovery_rate: float | None,
    output_format: str,
    file: Path | None,
    language: str,
) -> ExitCode:
    from llmenv.catalog.texts import texts

    from llmenv_cli.errors import UsageError
    from llmenv_cli.fleet_output import print_comparison
    from llmenv_cli.fleet_verdict import comparison_verdict

    sides = (baseline.strip(), candidate.strip())
    if not all(sides) or sides[0] == sides[1]:
        raise UsageError("Two sides are compared: name two that differ.")
    within = _request(
        since,
        where=where,
        checks=checks,
        as_of=as_of,
        minimum_effect=minimum_effect or 0.0,
        false_discovery_rate=false_discovery_rate or 0.0,
    )
    _require(output_format, file)
    with _client() as client:
        if output_format == "html":
            answer, page = client.comparison_page(
                baseline=sides[0], candidate=sides[1], within=within, language=language
            )
            destination.write_bytes(page, file)
        else:
            answer = client.compare(baseline=sides[0], candidate=sides[1], within=within)
    if output_format != "html":
        print_comparison(answer, sides=sides, output_format=output_format, language=language, file=file)
    return _end(comparison_verdict(answer, sides=sides, texts=texts(language)))


@click.command("upgrade-check", help=UPGRADE_HELP)
@click.argument("requirement", metavar="NAME==VERSION")
@report_options.selection
@report_options.period
@report_options.strictness
@report_options.report_format
@report_options.output
@options.language
def upgrade_check(
    *,
    requirement: str,
    where: str,
    checks: tuple[str, ...],
    since: dt.timedelta | str | None,
    as_of: dt.datetime | None,
    minimum_effect: float | None,
    false_discovery_rate: float | None,
    output_format: str,
    file: Path | None,
    language: str,
) -> ExitCode:
    from llmenv.catalog.texts import texts

    from llmenv_cli.errors import UsageError
    from llmenv_cli.fleet_output import print_upgrade
    from llmenv_cli.fleet_question import release
    from llmenv_cli.fleet_verdict import upgrade_verdict

    try:
        asked = "==".join(release(requirement))
    except ValueError as error:
        raise UsageError(str(error)) from error
    within = _request(
        since,
        where=where,
        checks=checks,
        as_of=as_of,
        minimum_effect=minimum_effect or 0.0,
        false_discovery_rate=false_discovery_rate or 0.0,
    )
    _require(output_format, file)
    with _client() as client:
        if output_format == "html":
            answer, page = client.upgrade_page(asked, within=within, language=language)
            destination.write_bytes(page, file)
        else:
            answer = client.check_upgrade(asked, within=within)
    if output_format != "html":
        print_upgrade(answer, requirement=asked, output_format=output_format, language=language, file=file)
    return _end(upgrade_verdict(answer, texts=texts(language)))


def _ask(
    request: GetFleetReportRequest, *, output_format: str, file: Path | None, language: str
) -> GetFleetReportResponse:
    """The report; as html the page is written too, and the report says how to exit."""
    with _client() as client:
        if output_format == "html":
            destination.write_bytes(client.report_page(request, language=language), file)
        return client.report(request)


def _request(since: dt.timedelta | str | None, **asked: object) -> GetFleetReportRequest:
    from llmenv_cli.fleet_question import Question, report_request

    is_whole_history = since == "all"
    begin = since if isinstance(since, dt.timedelta) else None
    question = Question(since=begin, is_whole_history=is_whole_history, **asked)  # type: ignore[arg-type]
    return report_request(question, now=dt.datetime.now(dt.UTC))


def _pins(file: Path | None) -> tuple[object, ...]:
    """What a requirements file wants; what it does not want of every machine is said on stderr."""
    if file is None:
        return ()
    from llmenv_cli.requirements_file import read_requirements

    wanted = read_requirements(file)
    for sentence in wanted.left_out:
        click.echo(sentence, err=True)
    return wanted.versions


def _require(output_format: str, file: Path | None) -> None:
    """Before anything is asked: the package that writes workbooks, and somewhere to write to."""
    destination.require_folder(file)
    if output_format == "xlsx":
        from llmenv_cli.render.fleet.workbook import require_xlsxwriter

        destination.require_no_terminal(file, output_format=output_format)
        require_xlsxwriter()


def _client() -> FleetClient:
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials

    return FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds)


def _end(verdict: Verdict) -> ExitCode:
    """Why, on stderr, and with which code."""
    from llmenv.harmless import harmless_line

    for reason in verdict.reasons:
        click.echo(harmless_line(reason), err=True)
    return verdict.code
