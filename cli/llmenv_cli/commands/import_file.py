"""llmenv import: measurements made elsewhere, to be compared in the same report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmenv_cli import options, settings
from llmenv_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llmenv.fleet.v1.fleet_service_pb2 import ImportMeasurementsRequest, ImportMeasurementsResponse

    from llmenv_cli.render.listing import Listing

HELP = """Import measurements made elsewhere, such as a public table or an old history.

FILE ends in .csv or .jsonl; docs/import.md describes its columns.  All of it is imported, or nothing: rows
that cannot be used are listed with their line and why, and --skip-bad imports the others.  A file that was
imported before adds nothing.  The fleet report shows what was imported under its chips, with its source, and
nowhere else.  Who asks needs the role admin.  Exits with 4 when rows were left out, with 2 when nothing was
imported because of them.
"""


@click.command("import", help=HELP)
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--source", required=True, metavar="NAME", help="Where the measurements are from.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--replace", is_flag=True, help="Withdraw what a file of this source and name brought before.")
@click.option("--skip-bad", is_flag=True, help="Import the other rows where some cannot be used.")
@options.output_format
@options.language
def import_file(
    *,
    file: Path,
    source: str,
    dry_run: bool,
    replace: bool,
    skip_bad: bool,
    output_format: str,
    language: str,
) -> ExitCode:
    from llmenv.fleet.v1.fleet_service_pb2 import ImportMeasurementsRequest

    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.render.listing import write_listing

    asked = ImportMeasurementsRequest(
        source=source,
        file_name=file.name,
        is_dry_run=dry_run,
        is_replacement=replace,
        skips_bad_rows=skip_bad,
    )
    content = _read(file)
    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        answer = client.import_measurements(asked, content)
    _tell(asked, answer, language)
    if answer.refusals:
        write_listing(_listing(answer, language), output_format=output_format, stream=sys.stdout)
    if not answer.refused_rows or answer.is_known:
        return ExitCode.FINE
    return ExitCode.PARTIAL if skip_bad and answer.good_rows else ExitCode.USAGE


def _read(file: Path) -> bytes:
    from llmenv_cli.errors import UsageError

    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error


def _tell(asked: ImportMeasurementsRequest, answer: ImportMeasurementsResponse, language: str) -> None:
    """What became of it, on stderr."""
    from llmenv.catalog.texts import texts
    from llmenv.harmless import harmless

    values = {
        "source": asked.source,
        "id": answer.import_id,
        "good": answer.good_rows,
        "machines": answer.machines,
    }
    for key, count in _sentences(asked, answer):
        said = texts(language).say(f"imports.{key}", **values, count=count, shown=len(answer.refusals))
        click.echo(harmless(said), err=True)


def _sentences(
    asked: ImportMeasurementsRequest, answer: ImportMeasurementsResponse
) -> Iterator[tuple[str, int]]:
    """Keys of the sentences, and what each counts."""
    if answer.is_known:
        yield "known", 0
        return
    is_wanted = bool(answer.good_rows) and (asked.skips_bad_rows or not answer.refused_rows)
    if answer.refused_rows:
        yield "refused", answer.refused_rows
        if answer.refused_rows > len(answer.refusals):
            yield "first", 0
        yield "left_out" if is_wanted else "nothing" if answer.good_rows else "all_bad", 0
    if is_wanted:
        yield "would_be" if asked.is_dry_run else "imported", 0
    if is_wanted and answer.withdrawn_rows:
        yield "would_be_withdrawn" if asked.is_dry_run else "withdrawn", answer.withdrawn_rows


def _listing(answer: ImportMeasurementsResponse, language: str) -> Listing:
    """A row a refusal; programs read the same keys in both languages."""
    from llmenv.catalog.texts import texts

    from llmenv_cli.render.listing import Field, Listing, Row

    say = texts(language).say
    return Listing(
        fields=[
            Field(key="line", title=say("column.line"), is_number=True),
            Field(key="reason", title=say("column.refused_because"), wraps=True),
        ],
        rows=[Row(values={"line": one.line, "reason": one.reason}) for one in answer.refusals],
    )
