"""A shell for SQL: a statement until its semicolon, its answer as a table, an error with its place.

Ctrl-C ends the statement that runs, or empties the line, and never the shell; Ctrl-D or \\q leaves.
"""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import sys
import time
from typing import TYPE_CHECKING

import click

from llmenv_cli.errors import CliError, NotInstalledError
from llmenv_cli.exit_codes import ExitCode
from llmenv_cli.render.listing import write_listing
from llmenv_cli.sql import pointing, statements
from llmenv_cli.sql.answer import EXTRA, Answer
from llmenv_cli.sql.output import listing_of
from llmenv_cli.sql.views import find_view, views_of, write_view, write_views

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_cli.client import FleetClient
    from llmenv_cli.sql.views import View

SHOWN_ROWS = 1_000
HELP = """\
\\d         the views            \\d VIEW    what a view and its columns mean, with an example
\\q         leave (or Ctrl-D)    \\?         this help
A statement ends with ; and may have several lines.
Tab completes, Ctrl-C cancels, Ctrl-R searches the history."""


def run_shell(client: FleetClient, *, address: str, max_rows: int) -> ExitCode:
    """Returns when somebody leaves."""
    require_prompt_toolkit()
    from llmenv_cli.sql.prompt import prompt_of

    shell = Shell(client, views_of(client), max_rows=max_rows or SHOWN_ROWS)
    ask = prompt_of(shell.views)
    click.echo(f"SQL at {address}: \\d lists the views, \\? helps, \\q leaves.", err=True)
    while not shell.has_ended:
        try:
            text = ask()
        except KeyboardInterrupt:
            continue
        except EOFError:
            break
        shell.take(text)
    return ExitCode.FINE


def require_prompt_toolkit() -> None:
    if importlib.util.find_spec("prompt_toolkit") is None:
        raise NotInstalledError(f"The shell needs prompt_toolkit, which is not installed: {EXTRA}.")


class Shell:
    """Answers what is typed, on stdout, and explains itself on stderr."""

    def __init__(self, client: FleetClient, views: list[View], *, max_rows: int) -> None:
        self.views = views
        self.has_ended = False
        self._client = client
        self._max_rows = max_rows
        self._commands: dict[str, Callable[[str], None]] = {
            "\\q": self._leave,
            "\\d": self._describe,
            "\\?": lambda _: click.echo(HELP),
            "exit": self._leave,
            "quit": self._leave,
        }

    def take(self, text: str) -> None:
        """One entry: a command, or statements."""
        name, _, rest = text.strip().rstrip(";").partition(" ")
        try:
            if command := self._commands.get(name):
                command(rest.strip())
            elif name.startswith("\\"):
                click.echo(f"There is no command {name}: \\? lists them.", err=True)
            else:
                for statement in statements.split(text)[0]:
                    self._ask(statement)
        except CliError as error:
            click.echo(str(error), err=True)
        except KeyboardInterrupt:
            click.echo("Cancelled.", err=True)

    def _leave(self, _: str) -> None:
        self.has_ended = True

    def _describe(self, name: str) -> None:
        if name:
            write_view(find_view(self.views, name), output_format="table", stream=sys.stdout)
        else:
            write_views(self.views, output_format="table", stream=sys.stdout)

    def _ask(self, statement: str) -> None:
        started = time.monotonic()
        try:
            with contextlib.closing(self._client.query(statement, max_rows=self._max_rows)) as parts:
                answer = Answer(parts)
                listing = listing_of(answer)
        except CliError as error:
            if shown := pointing.pointed(statement, str(error), width=shutil.get_terminal_size().columns):
                click.echo(shown, err=True)
            raise
        write_listing(listing, output_format="table", stream=sys.stdout)
        told = f"Rows: {answer.rows:,} in {time.monotonic() - started:.1f} s"
        told += f", as of {answer.snapshot:%Y-%m-%d %H:%M:%S} UTC."
        click.echo(told + (" More match: this is cut." if answer.is_truncated else ""), err=True)
