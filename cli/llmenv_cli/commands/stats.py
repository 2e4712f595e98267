"""llmenv stats: how far the statistics of the reports can be trusted."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import options, settings

if TYPE_CHECKING:
    import datetime as dt


@click.group()
def stats() -> None:
    """Try the statistics of the reports on what the collector holds."""


@stats.command()
@click.option(
    "--since",
    callback=options.length_of_time,
    metavar="TIME",
    help="Only runs of the last 30d, 12h or 2w.  [default: 30d]",
)
@click.option("--where", default="", metavar="SQL", help="Only machines: a condition over v1.machines.")
@click.option("--check", "checks", multiple=True, metavar="NAME", help="Only this check; may be repeated.")
@click.option(
    "--repetitions",
    type=click.IntRange(1, 2_000),
    default=200,
    show_default=True,
    metavar="N",
    help="Comparisons of each measurement.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, 2**32 - 1),
    default=0,
    show_default=True,
    metavar="N",
    help="The same seed and history give the same answer.",
)
@options.output_format
@options.language
def selftest(
    *,
    since: dt.timedelta | None,
    where: str,
    checks: tuple[str, ...],
    repetitions: int,
    seed: int,
    output_format: str,
    language: str,
) -> None:
    """How often a difference is found where there is none, and how often a planted one.

    Compares consecutive results of one machine on the same versions with one another, as before and after
    an upgrade: whatever is called better or worse is false, and should be at most 5 %, in either direction
    alike. Then plants shifts of 5 and 10 % in one half, and counts how many are found. Exits with 4 when no
    measurement has a history that is long enough.
    """
    import datetime as dt

    from llmenv.catalog.texts import texts
    from llmenv.fleet.v1.fleet_report_pb2 import SelfTestStatisticsRequest

    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.exit_codes import ExitCode
    from llmenv_cli.render.listing import write_listing
    from llmenv_cli.self_test_listing import self_test_listing

    request = SelfTestStatisticsRequest(repetitions=repetitions, seed=seed)
    request.within.where = where
    request.within.checks.extend(checks)
    if since is not None:
        request.within.since.FromDatetime(dt.datetime.now(dt.UTC) - since)
    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        answer = client.self_test(request)
    words = texts(language)
    write_listing(self_test_listing(answer, words), output_format=output_format, stream=sys.stdout)
    if answer.too_short:
        click.echo(words.say("stats.too_short", count=answer.too_short), err=True)
    if not answer.false_positives:
        click.echo(words.say("stats.nothing"), err=True)
        sys.exit(ExitCode.PARTIAL)
