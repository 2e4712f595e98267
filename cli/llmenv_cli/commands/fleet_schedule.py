"""llmenv fleet schedule set, list and remove: what machines run at set times by the collector's word."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import asked_options, options, settings

if TYPE_CHECKING:
    import datetime as dt

    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.agent_service_pb2 import RunChecks
    from llmenv.fleet.v1.fleet_service_pb2 import FleetSchedule, MachineSelection

    from llmenv_cli.client import FleetClient
    from llmenv_cli.render.listing import Listing

SET_HELP = """Have machines run checks at set times from now on; in place of what has this NAME.

Options that select machines narrow: it is for every machine that satisfies all of them, now or later.  Times
of day are the machine's own.  A machine keeps the schedule and goes by it while the collector is away.  Where
its agent.toml gives the same suite times, those hold: `llmenv fleet schedule list NAME` shows what each
machine makes of it.  Who asks needs the role admin.
"""


@click.group()
def schedule() -> None:
    """Have machines run checks at set times, and see what they make of it."""


@schedule.command("set", help=SET_HELP)
@click.argument("name")
@asked_options.what_to_run(splay="10m")
@click.option(
    "--every", callback=options.length_of_time, metavar="TIME", help="From one start to the next: 12h, 7d."
)
@click.option(
    "--at",
    default="",
    metavar="CRON",
    help='Or minute, hour, day of the month, month and day of the week: "0 3 * * 1-5".',
)
@asked_options.which_machines
@click.option("--dry-run", is_flag=True, help="Only list the machines that it would be for now.")
@options.output_format
@options.language
def set_(
    *,
    name: str,
    asked: RunChecks,
    selection: MachineSelection,
    every: dt.timedelta | None,
    at: str,
    dry_run: bool,
    output_format: str,
    language: str,
) -> None:
    from llmenv_cli import command_request
    from llmenv_cli.render.schedule_listing import machines_listing, schedules_listing

    request = command_request.set_schedule_request(
        selection, asked, name=name, every=every, at=at, is_dry_run=dry_run
    )
    with _client() as client:
        kept = client.set_schedule(request)
    key = "would_be" if dry_run else "set" if kept.machines else "set_for_none"
    _say(key, language, name=name, count=len(kept.machines))
    if dry_run:
        _print(machines_listing(kept, _texts(language)), output_format=output_format)
    else:
        _print(schedules_listing([kept], _texts(language)), output_format=output_format)


@schedule.command("list")
@click.argument("name", default="", metavar="[NAME]")
@options.output_format
@options.language
def list_(*, name: str, output_format: str, language: str) -> None:
    """List schedules; of the one with NAME its machines, and what each makes of it.

    A machine goes by it, sets it aside for its own configuration, refuses what it cannot run, or has not said
    anything yet.
    """
    from llmenv_cli.render.schedule_listing import machines_listing, schedules_listing

    with _client() as client:
        found = client.schedules(name=name)
    for one in found:
        _warn(one, language)
    listing = (
        machines_listing(found[0], _texts(language)) if name else schedules_listing(found, _texts(language))
    )
    _print(listing, output_format=output_format)


@schedule.command("remove")
@click.argument("name")
@options.language
def remove(*, name: str, language: str) -> None:
    """Have machines go by a schedule no longer.

    What it has started goes on.  A machine that is offline learns of it when it returns.
    """
    with _client() as client:
        removed = client.remove_schedule(name)
    _say("removed", language, name=name, count=len(removed.machines))


def _warn(one: FleetSchedule, language: str) -> None:
    if one.trouble:
        _say("trouble", language, name=one.schedule.name, why=one.trouble)


def _print(listing: Listing, *, output_format: str) -> None:
    from llmenv_cli.render.listing import write_listing

    write_listing(listing, output_format=output_format, stream=sys.stdout)


def _say(key: str, language: str, **values: object) -> None:
    from llmenv.harmless import harmless

    click.echo(harmless(_texts(language).say(f"schedules.{key}", **values)), err=True)


def _texts(language: str) -> Texts:
    from llmenv.catalog.texts import texts

    return texts(language)


def _client() -> FleetClient:
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials

    return FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds)
