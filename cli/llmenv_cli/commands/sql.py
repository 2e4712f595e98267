"""llmenv sql: the whole history, in SQL."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
from llmenv.named_file import refuse_pipes

from llmenv_cli import settings
from llmenv_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from llmenv.fleet.v1.fleet_service_pb2 import QueryParameter

    from llmenv_cli.client import FleetClient

HELP = """Ask the collector one SELECT over the views of schema v1.

With no statement, on a terminal, a shell starts that asks one after the other; `\\\\?` lists what it knows.
--tables lists the views, --describe one of them with an example.

It answers from a snapshot, whose time is said on stderr.  csv, json, arrow (its stream format) and parquet
are written as the answer arrives.  Exits with 4 when the answer was cut, with 2 when the statement is wrong.
"""


@click.command(help=HELP)
@click.argument("statement", metavar="[SELECT]", required=False)
@click.option(
    "-f",
    "--file",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Read it from a file; - for stdin.",
)
@click.option(
    "--param",
    "written",
    multiple=True,
    metavar="NAME[:TYPE]=VALUE",
    help="Value of $NAME in the statement; text, or integer, number, boolean, time or null.  Repeatable.",
)
@click.option(
    "--max-rows",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    metavar="N",
    help="Rows at most; 0 for the collector's own cap, and for 1000 in the shell.",
)
@click.option(
    "--format",
    "output_format",
    type=click.Choice((*settings.FORMATS, *settings.BINARY_FORMATS)),
    default=lambda: settings.load().format,
    show_default="format of the settings, else table",
    help="How to print: a table or Markdown for people, the others for programs.",
)
@click.option(
    "--output", metavar="FILE", type=click.Path(path_type=Path), help="Write to a file instead of stdout."
)
@click.option("--tables", is_flag=True, help="List the views.")
@click.option("--describe", metavar="VIEW", help="Say what a view and its columns mean.")
def sql(
    *,
    statement: str | None,
    file: Path | None,
    written: tuple[str, ...],
    max_rows: int,
    output_format: str,
    output: Path | None,
    tables: bool,
    describe: str | None,
) -> ExitCode:
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.sql.answer import require_pyarrow
    from llmenv_cli.sql.parameters import parameters_of

    text = _statement(statement, file, others=(tables, describe is not None))
    parameters = parameters_of(written)
    require_pyarrow()
    credentials = Credentials.load()
    with FleetClient(credentials, timeout_seconds=settings.load().timeout_seconds) as client:
        if tables or describe is not None:
            return _describe(client, describe, output_format=output_format)
        if text is None:
            from llmenv_cli.sql.shell import run_shell

            return run_shell(client, address=credentials.address, max_rows=max_rows)
        return _ask(client, text, parameters, max_rows=max_rows, output_format=output_format, file=output)


def _statement(argument: str | None, file: Path | None, *, others: tuple[bool, ...]) -> str | None:
    """None when a shell is wanted, or one of the others. Raises UsageError."""
    from llmenv_cli.errors import UsageError

    given = [argument is not None, file is not None, *others]
    if sum(given) > 1:
        raise UsageError("Give one of a statement, -f, --tables and --describe.")
    if argument is not None:
        return argument
    if file is not None:
        return _read(file)
    if not any(given) and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("There is no statement: give one, or -f FILE; a shell starts only on a terminal.")
    return None


def _read(file: Path) -> str:
    from llmenv_cli.errors import UsageError

    try:
        if str(file) == "-":
            return sys.stdin.buffer.read().decode()
        refuse_pipes(file)
        return file.read_bytes().decode()
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{file} is not UTF-8 at byte {error.start}.") from error


def _describe(client: FleetClient, name: str | None, *, output_format: str) -> ExitCode:
    from llmenv_cli.errors import UsageError
    from llmenv_cli.sql.views import find_view, views_of, write_view, write_views

    if output_format not in settings.FORMATS:
        raise UsageError(f"Views are listed as {', '.join(settings.FORMATS)}, not as {output_format}.")
    views = views_of(client)
    if name is None:
        write_views(views, output_format=output_format, stream=sys.stdout)
    else:
        write_view(find_view(views, name), output_format=output_format, stream=sys.stdout)
    return ExitCode.FINE


def _ask(
    client: FleetClient,
    statement: str,
    parameters: list[QueryParameter],
    *,
    max_rows: int,
    output_format: str,
    file: Path | None,
) -> ExitCode:
    from llmenv_cli.destination import require_folder, require_no_terminal
    from llmenv_cli.sql.answer import Answer
    from llmenv_cli.sql.output import write_answer

    require_folder(file)
    if output_format in settings.BINARY_FORMATS:
        require_no_terminal(file, output_format=output_format)
    with contextlib.closing(client.query(statement, max_rows=max_rows, parameters=parameters)) as parts:
        answer = Answer(parts)
        write_answer(answer, output_format=output_format, file=file)
    click.echo(f"Rows: {answer.rows:,}, as of {answer.snapshot:%Y-%m-%d %H:%M:%S} UTC.", err=True)
    if not answer.is_truncated:
        return ExitCode.FINE
    click.echo(
        "The answer was cut there: more rows match. --max-rows asks for more, up to the collector's cap.",
        err=True,
    )
    return ExitCode.PARTIAL
