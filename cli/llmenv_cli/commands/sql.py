"""llmenv sql: the whole history, in SQL."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import options, settings
from llmenv_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from llmenv_cli.render.listing import Listing
    from llmenv_cli.sql_answer import Answer


@click.command()
@click.argument("statement", metavar="SELECT")
@click.option(
    "--max-rows",
    type=click.IntRange(0, 2**63 - 1),
    default=0,
    metavar="N",
    help="Rows at most; 0 for the collector's own cap.",
)
@options.output_format
@click.pass_context
def sql(context: click.Context, *, statement: str, max_rows: int, output_format: str) -> None:
    """Ask the collector one SELECT over the views of schema v1.

    It answers from a snapshot, whose time is said on stderr.  Exits with 4 when the answer was cut.
    """
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.render.listing import write_listing
    from llmenv_cli.sql_answer import require_pyarrow, take

    require_pyarrow()
    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        answer = take(client.query(statement, max_rows=max_rows))
    write_listing(_listing(answer), output_format=output_format, stream=sys.stdout)
    click.echo(f"Rows: {answer.table.num_rows:,}, as of {answer.snapshot:%Y-%m-%d %H:%M:%S} UTC.", err=True)
    if answer.is_truncated:
        click.echo(
            "The answer was cut there: more rows match. --max-rows asks for more, up to the collector's cap.",
            err=True,
        )
        context.exit(ExitCode.PARTIAL)


def _listing(answer: Answer) -> Listing:
    from llmenv_cli.render.listing import Field, Listing, Row

    numeric = {name: answer.is_number(name) for name in answer.table.column_names}
    fields = [
        Field(key=name, title=name, is_number=is_number, wraps=not is_number)
        for name, is_number in numeric.items()
    ]
    return Listing(fields=fields, rows=[Row(values=row) for row in answer.rows()])
