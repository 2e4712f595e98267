"""llmenv fleet delivery: what became of every record that the machines ever minted."""

from __future__ import annotations

import sys

import click

from llmenv_cli import options, settings
from llmenv_cli.exit_codes import ExitCode


@click.command()
@click.option("--machine", default="", metavar="NAME", help="Only this machine, by hostname or id.")
@click.option("--days", "by_day", is_flag=True, help="What arrived on each day instead, newest first.")
@options.output_format
@options.language
def delivery(*, machine: str, by_day: bool, output_format: str, language: str) -> ExitCode:
    """Account for every record: nothing lost, nothing twice.

    For each spool of a machine, as of its last contact: minted = stored + refused + waiting + dropped
    + lost by a restore of the collector, each with its reasons. Exit code 8 when a record is unexplained.
    """
    from llmenv.catalog.texts import texts

    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.delivery_output import days_listing, print_spools
    from llmenv_cli.render.listing import write_listing

    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        answer = client.delivery(machine=machine)
    words = texts(language)
    if by_day:
        write_listing(days_listing(answer.days, words), output_format=output_format, stream=sys.stdout)
    else:
        print_spools(answer.spools, words, output_format=output_format, stream=sys.stdout)
    unexplained = sum(abs(spool.unexplained) for spool in answer.spools)
    if not unexplained:
        return ExitCode.FINE
    click.echo(f"llmenv: {words.say('delivery.unexplained', count=unexplained)}", err=True)
    return ExitCode.UNEXPLAINED
