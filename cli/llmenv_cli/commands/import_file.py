"""llmenv import: measurements made elsewhere, to be compared in the same report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from llmenv.named_file import refuse_pipes

from llmenv_cli import options, settings
from llmenv_cli.errors import UsageError
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

--list and --withdraw stand alone: which files were imported, and that one of them counts no more from now on.
Listing needs the role viewer.
"""


@click.command("import", help=HELP)
@click.argument("file", metavar="[FILE]", required=False, type=click.Path(path_type=Path))
@click.option("--source", default="", metavar="NAME", help="Where the measurements are from.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen.")
@click.option("--replace", is_flag=True, help="Withdraw what a file of this source and name brought before.")
@click.option("--skip-bad", is_flag=True, help="Import the other rows where some cannot be used.")
@click.option("--list", "is_list", is_flag=True, help="List the files that were imported, newest first.")
@click.option("--withdraw", default="", metavar="ID", help="Have what this import brought count no more.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="List at most this many.",
)
@options.output_format
@options.language
def import_file(
    *,
    file: Path | None,
    source: str,
    dry_run: bool,
    replace: bool,
    skip_bad: bool,
    is_list: bool,
    withdraw: str,
    limit: int,
    output_format: str,
    language: str,
) -> ExitCode:
    is_import = bool(file or source or dry_run or replace or skip_bad)
    _require_one(is_list=is_list, withdraw=withdraw, is_import=is_import)
    if file is None:
        if is_import:
            raise UsageError("Name the file that is to be imported.")
        _print_imports(withdraw=withdraw, limit=limit, output_format=output_format, language=language)
        return ExitCode.FINE
    if not source:
        raise UsageError("Say where the measurements are from: --source NAME.")
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


def _require_one(*, is_list: bool, withdraw: str, is_import: bool) -> None:
    if is_list + bool(withdraw) + is_import != 1:
        raise UsageError("Name a file, or give --list or --withdraw, and one of them alone.")


def _print_imports(*, withdraw: str, limit: int, output_format: str, language: str) -> None:
    """The imports, or the one that was withdrawn."""
    from llmenv.catalog.texts import texts

    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.render.import_listing import imports_listing
    from llmenv_cli.render.listing import write_listing

    words = texts(language)
    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        if withdraw:
            found = [client.withdraw_import(withdraw)]
        else:
            listed = client.imports(limit=limit)
            found = list(listed.imports)
            if listed.total > len(found):
                click.echo(words.say("imports.shown", shown=len(found), total=listed.total), err=True)
    write_listing(imports_listing(found, words), output_format=output_format, stream=sys.stdout)


def _read(file: Path) -> bytes:
    try:
        refuse_pipes(file)
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
