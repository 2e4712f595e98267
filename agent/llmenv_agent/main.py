"""`llmenv-agent`: commands are imported when they are called, so that each starts as fast as what it needs.

This is the one place that catches everything: a person gets a sentence and an exit code, never a traceback
(LLMENV_DEBUG=1 shows it).
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys
from typing import cast

import click
from llmenv import __version__

from llmenv_agent.errors import AgentError
from llmenv_agent.exit_codes import ExitCode

COMMANDS = (
    "check",
    "checks",
    "dead-letters",
    "doctor",
    "enroll",
    "facts",
    "replay",
    "run",
    "service",
    "simulate",
    "status",
)

DENIALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class Commands(click.Group):
    """One module of `commands` a command, with the command in `command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"llmenv_agent.commands.{cmd_name.replace('-', '_')}")
        return cast("click.Command", module.command)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would exit with 1, which says "not ready" here
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return ExitCode.FAILED


@click.command("llmenv-agent", cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="llmenv", prog_name="llmenv-agent")
def cli() -> None:
    """Checks training environments of this machine and delivers what it saw."""


def main() -> None:
    if sys.stdin is None:  # closed by who started this: the same as empty
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal has every character
            stream.reconfigure(errors="backslashreplace")
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:  # noqa: PLR0911 # one return an ending
    """The exit code of one call."""
    try:
        return int(cli.main(arguments, prog_name="llmenv-agent", standalone_mode=False) or ExitCode.DONE)
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return ExitCode.INTERRUPTED
    except AgentError as error:
        _say(str(error))
        return error.exit_code
    except ModuleNotFoundError as error:  # a plain install of llmenv is the CLI alone
        _say(f"The package {error.name} is missing: pip install 'llmenv[agent]'.")
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 # the one place: see above
        if isinstance(error, OSError) and error.errno in DENIALS:
            _say(f"{error.filename or 'The output'} cannot be used: {error.strerror}.")
            return ExitCode.FAILED
        if os.environ.get("LLMENV_DEBUG"):
            import traceback

            traceback.print_exc()
        _say(
            f"This is a fault of llmenv-agent: {type(error).__name__}: {error} "
            f"(LLMENV_DEBUG=1 shows where; please report it)"
        )
        return ExitCode.FAILED


def _say(sentence: str) -> None:
    click.echo(f"llmenv-agent: {sentence}", err=True)


if __name__ == "__main__":
    main()
