"""llmenv fleet run, watch, cancel and commands: have machines run checks, and see what becomes of it."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import asked_options, options, settings
from llmenv_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    import datetime as dt

    from llmenv.fleet.v1.agent_service_pb2 import RunChecks
    from llmenv.fleet.v1.fleet_service_pb2 import IssueCommandResponse, MachineSelection
    from llmenv.fleet.v1.fleet_watch_pb2 import WatchFleetRequest

    from llmenv_cli.client import FleetClient
    from llmenv_cli.command_talk import CommandTalk

RUN_HELP = """Have machines run checks now, and show how it goes.

Options that select machines narrow: a machine must satisfy all of them.  One that is offline, or busy with
another run, gets to it until the command expires.  Progress goes to stderr, a table of outcomes to stdout.
Ctrl-C leaves off watching; the machines go on.  Exits with 0 when every machine ran the checks and all ended
well, and with 1 when not.
"""
WATCH_HELP = """Show the fleet as it is and what happens in it, or what becomes of a command or a batch.

Without ID: which machines are online, what they run, what fails there, how much waits to be delivered, and
results as they arrive.  A terminal shows it on one screen, a pipe gets a line for each thing that happens,
and --format json an object a line.  When the collector was away it goes on where it was.  Ctrl-C leaves.

ID is one that `llmenv fleet run` or `llmenv fleet commands` printed.  As with `llmenv fleet run`, progress
goes to stderr, a table of outcomes to stdout, Ctrl-C changes nothing for the machines, and the exit code says
whether all went well.
"""


@click.command(help=RUN_HELP)
@asked_options.what_to_run(splay="0s")
@asked_options.which_machines
@click.option(
    "--expires",
    callback=options.length_of_time,
    metavar="TIME",
    help="From then on nobody begins it any more: 30m, 2h, 7d.  [default: 1d]",
)
@click.option("--dry-run", is_flag=True, help="Only list the machines that it would be.")
@click.option("--no-wait", is_flag=True, help="Do not watch; `llmenv fleet watch` can do so later.")
@options.output_format
@options.language
def run(
    *,
    asked: RunChecks,
    selection: MachineSelection,
    expires: dt.timedelta | None,
    dry_run: bool,
    no_wait: bool,
    output_format: str,
    language: str,
) -> ExitCode:
    from llmenv_cli import command_request

    request = command_request.issue_request(selection, asked, expires=expires, is_dry_run=dry_run)
    with _client() as client:
        issued = client.issue(request)
        if dry_run or no_wait:
            _print_issued(issued, output_format=output_format, language=language)
            return ExitCode.FINE
        talk = _talk(language)
        talk.say("issued", count=len(issued.commands), id=issued.batch_id)
        talk.say("ctrl_c")
        return _watch(client, issued.batch_id, output_format=output_format, language=language)


@click.command(help=WATCH_HELP)
@click.argument("identity", metavar="[ID]", default="")
@click.option(
    "--where", default="", metavar="SQL", help="Only machines that satisfy a condition over v1.machines."
)
@click.option(
    "--machine", "machines", multiple=True, metavar="NAME", help="By hostname or id; may be repeated."
)
@click.option(
    "--check", "checks", multiple=True, metavar="NAME", help="Only results of this check; may be repeated."
)
@options.output_format
@options.language
def watch(
    *,
    identity: str,
    where: str,
    machines: tuple[str, ...],
    checks: tuple[str, ...],
    output_format: str,
    language: str,
) -> ExitCode:
    from llmenv_cli.errors import UsageError

    if identity and (where or machines or checks):
        raise UsageError("A command is watched as a whole: --where, --machine and --check are for the fleet.")
    with _client() as client:
        if identity:
            return _watch(client, identity, output_format=output_format, language=language)
        if output_format not in {"table", "json"}:
            raise UsageError(
                "The fleet is watched as it goes: --format is table (a screen, or lines in a pipe) or json"
                " (an object a line)."
            )
        from llmenv.fleet.v1.fleet_watch_pb2 import WatchFleetRequest

        request = WatchFleetRequest(where=where, machines=machines, checks=checks)
        return _watch_fleet(client, request, output_format=output_format, language=language)


@click.command()
@click.argument("identity", metavar="ID")
@options.output_format
@options.language
def cancel(*, identity: str, output_format: str, language: str) -> None:
    """Take back a command, a batch, or what led to a run: what has not begun never does, what runs is ended.

    A machine that is offline learns of it when it returns.  Prints the commands that had not ended yet.
    """
    from llmenv.catalog.texts import texts

    from llmenv_cli.render.command_listing import commands_listing
    from llmenv_cli.render.listing import write_listing

    with _client() as client:
        cancelled = client.cancel(identity)
    _talk(language).say("taken_back" if cancelled else "all_had_ended", count=len(cancelled))
    write_listing(
        commands_listing(cancelled, texts(language)), output_format=output_format, stream=sys.stdout
    )


@click.command()
@click.option("--batch", default="", metavar="ID", help="Only those of this batch.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many."
)
@options.output_format
@options.language
def commands(*, batch: str, limit: int, output_format: str, language: str) -> None:
    """List what machines were told to run, newest first."""
    from llmenv.catalog.texts import texts

    from llmenv_cli.render.command_listing import commands_listing
    from llmenv_cli.render.listing import write_listing

    with _client() as client:
        found = client.commands(batch_id=batch, limit=limit)
    write_listing(commands_listing(found, texts(language)), output_format=output_format, stream=sys.stdout)


def _client() -> FleetClient:
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials

    return FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds)


def _talk(language: str) -> CommandTalk:
    from llmenv.catalog.texts import texts

    from llmenv_cli.command_talk import CommandTalk

    return CommandTalk(texts(language))


def _print_issued(issued: IssueCommandResponse, *, output_format: str, language: str) -> None:
    """Without waiting: the commands as they were issued, or the machines that they would be for."""
    from llmenv.catalog.texts import texts

    from llmenv_cli.render.command_listing import commands_listing, selected_listing
    from llmenv_cli.render.listing import write_listing

    words, count = texts(language), len(issued.commands)
    if issued.batch_id:
        _talk(language).say("issued", count=count, id=issued.batch_id)
        listing = commands_listing(issued.commands, words)
    else:
        _talk(language).say("would_be", count=count)
        listing = selected_listing(issued.commands, words)
    write_listing(listing, output_format=output_format, stream=sys.stdout)


def _watch_fleet(
    client: FleetClient, request: WatchFleetRequest, *, output_format: str, language: str
) -> ExitCode:
    from llmenv.catalog.texts import texts

    from llmenv_cli import fleet_watching

    display = fleet_watching.display_of(output_format, texts(language), address=client.address)
    with contextlib.suppress(KeyboardInterrupt):
        fleet_watching.watch(client, request, display)
    click.echo(texts(language).say("watch.left"), err=True)
    return ExitCode.INTERRUPTED


def _watch(client: FleetClient, identity: str, *, output_format: str, language: str) -> ExitCode:
    from llmenv.catalog.texts import texts

    from llmenv_cli import watched_commands
    from llmenv_cli.render.command_listing import outcomes_listing
    from llmenv_cli.render.listing import write_listing

    words, talk, watched = texts(language), _talk(language), watched_commands.WatchedCommands()
    steps = watched_commands.steps(client, identity, on_lost=lambda why: talk.say("lost", why=why))
    try:
        for step in watched.follow(steps):
            talk.step(step)
        apple_silicon = {one.machine.machine_id: one.machine.is_apple_silicon for one in client.machines()}
    except KeyboardInterrupt:
        talk.say("detached", id=identity)
        return ExitCode.INTERRUPTED
    listing = outcomes_listing(watched.sorted, words, apple_silicon=apple_silicon)
    write_listing(listing, output_format=output_format, stream=sys.stdout)
    return ExitCode.FINE if all(row.values["went_well"] for row in listing.rows) else ExitCode.NOT_READY
