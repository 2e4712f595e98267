"""The command line of llmenv-collector.

Commands are modules of llmenv_collector.commands, imported when they are used.
This is the one place that catches everything: whatever happens, a person reads
one sentence on stderr, and the exit code says which kind it was.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import TYPE_CHECKING

import click

from llmenv_collector.errors import CollectorError, DamagedStoreError, UsageError
from llmenv_collector.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = {
    "init": "Make a new collector: its CA, its database and the first admin token.",
    "serve": "Receive what agents deliver, and answer people.",
    "token": "Create, list and revoke tokens.",
    "machine": "List, approve, name, label, retire, revoke and forget machines.",
    "ca": "Rotate the authority that certifies machines.",
    "migrate": "Bring the database's schema forward.",
    "compact": "Write the database anew without free room.",
    "backup": "Copy the database, also while it is served.",
    "restore": "Put a backup in place of the database.",
    "retention": "Say what is kept for how long, and what is older now.",
    "reports": "List scheduled reports and their next times.",
}

CODES = {UsageError: ExitCode.USAGE, DamagedStoreError: ExitCode.DAMAGED}
ONLY_OF_A_LAKE = {"psycopg"}
DENIALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class LazyGroup(click.Group):
    """Lists commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"llmenv_collector.commands.{cmd_name}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="llmenv", message="llmenv-collector %(version)s")
def cli() -> None:
    """Keeps what the agents of a fleet deliver, and compares it."""


def main(arguments: Sequence[str] | None = None) -> int:  # noqa: PLR0911 (one return an ending)
    """Returns the exit code."""
    try:
        cli.main(args=arguments, prog_name="llmenv-collector", standalone_mode=False)
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except CollectorError as error:
        say(str(error))
        return next((code for kind, code in CODES.items() if isinstance(error, kind)), ExitCode.FAILED)
    except ModuleNotFoundError as error:  # a plain install of llmenv is the CLI alone
        extras = "collector,lake" if error.name in ONLY_OF_A_LAKE else "collector"
        say(f"The package {error.name} is missing: pip install 'llmenv[{extras}]'.")
        return ExitCode.FAILED
    except Exception as error:
        if isinstance(error, OSError) and error.errno in DENIALS:
            say(f"{error.filename or 'The output'} cannot be used: {error.strerror}.")
            return ExitCode.FAILED
        if os.environ.get("LLMENV_DEBUG"):
            raise
        say(f"a fault of its own: {type(error).__name__}: {error}. LLMENV_DEBUG=1 shows where.")
        return ExitCode.INTERNAL
    return ExitCode.OK


def say(sentence: str) -> None:
    click.echo(f"llmenv-collector: {sentence}", err=True)


if __name__ == "__main__":
    sys.exit(main())
