"""The program llmenv: commands are loaded when they are needed, and every failure is one sentence.

`llmenv --help` imports click and the commands' options, nothing else; gRPC, protobuf, rich and pyarrow
are loaded by the commands that use them.
"""

from __future__ import annotations

import errno
import importlib
import io
import os
import sys

import click

from llmenv_cli.errors import CliError
from llmenv_cli.exit_codes import ExitCode

# The command, and where it lies.
COMMANDS = {
    "check": "llmenv_cli.commands.check:check",
    "login": "llmenv_cli.commands.login:login",
    "logout": "llmenv_cli.commands.login:logout",
    "whoami": "llmenv_cli.commands.login:whoami",
    "fleet": "llmenv_cli.commands.fleet:fleet",
    "run": "llmenv_cli.commands.run:runs",
    "import": "llmenv_cli.commands.import_file:import_file",
    "sql": "llmenv_cli.commands.sql:sql",
    "export": "llmenv_cli.commands.export:export",
    "plan": "llmenv_cli.commands.plan:plan",
    "stats": "llmenv_cli.commands.stats:stats",
}


DENIALS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO}


class LazyGroup(click.Group):
    """A group that imports a command when somebody asks for it."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # click would exit with 1, which says "not ready" here
            return _reader_left()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="llmenv", prog_name="llmenv", message="%(prog)s %(version)s")
def llmenv() -> None:
    """Is this machine fit to train language models, which machine is faster, and what changed?

    `llmenv check` looks at this machine and needs nothing else.  `llmenv login` makes a collector
    known; the other commands ask it about the whole fleet.
    """


def main() -> None:
    """Run the program and exit with a code of ExitCode."""
    # gRPC reads it when it is imported, and would log failed handshakes between our sentences.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if sys.stdin is None:  # closed by who started this: the same as empty
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not every terminal has every character
            stream.reconfigure(errors="backslashreplace")
    try:
        code = llmenv.main(standalone_mode=False)
    except click.exceptions.Abort:
        code = ExitCode.INTERRUPTED
    except click.ClickException as error:
        error.show()
        code = ExitCode.USAGE
    except CliError as error:
        code = _explain(error)
    except Exception as error:  # noqa: BLE001 (the one place: no traceback reaches a person)
        code = _explain_fault(error)
    sys.exit(code if isinstance(code, int) else ExitCode.FINE)


def _explain(error: CliError) -> ExitCode:
    click.echo(f"llmenv: {error}", err=True)
    return error.exit_code


def _reader_left() -> ExitCode:
    """The reader of the pipe has gone, such as `head`; Python must not complain about it at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ExitCode.FINE


def _explain_fault(error: Exception) -> ExitCode:
    """A fault of llmenv itself (LLMENV_DEBUG shows where), unless the system denied it a file or room."""
    if isinstance(error, OSError) and error.errno in DENIALS:
        click.echo(f"llmenv: {error.filename or 'The output'} cannot be used: {error.strerror}.", err=True)
        return ExitCode.USAGE
    if os.environ.get("LLMENV_DEBUG"):
        raise error
    click.echo(
        f"llmenv: a fault of llmenv itself ({type(error).__name__}: {error}); LLMENV_DEBUG=1 shows where.",
        err=True,
    )
    return ExitCode.INTERNAL


if __name__ == "__main__":
    main()
