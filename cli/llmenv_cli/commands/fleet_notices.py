"""llmenv fleet notices: what webhooks were told, and what they are not to be told for a while."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import options, settings
from llmenv_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from llmenv.fleet.v1.notice_service_pb2 import Mute

    from llmenv_cli.notice_client import NoticeClient

KINDS = ("check_failing", "check_recovered", "machine_silent", "machine_returned", "regression")
MUTE_HELP = """Have changes not told for a while: of machines, of a check, of a kind, or of all that is given.

What still holds when the mute ends is told then.  Who asks needs the role admin.
"""
limit_option = click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="List at most this many."
)


@click.group()
def notices() -> None:
    """List what webhooks were told of changes, try a webhook, and mute."""


@notices.command("list")
@click.option("--undelivered", is_flag=True, help="Only what did not arrive everywhere.")
@limit_option
@options.output_format
@options.language
def list_notices(*, undelivered: bool, limit: int, output_format: str, language: str) -> None:
    """List notices, newest first, with what became of each at each webhook."""
    from llmenv.catalog.texts import texts

    from llmenv_cli.render.listing import write_listing
    from llmenv_cli.render.notice_listing import notices_listing

    with _client() as client:
        listed = client.notices(only_undelivered=undelivered, limit=limit, language=language)
    if not listed.webhooks:
        _say("no_webhook", language)
    if listed.total > len(listed.notices):
        _say("shown", language, shown=len(listed.notices), total=listed.total)
    if listed.waiting_changes:
        _say("waiting", language, count=listed.waiting_changes)
    listing = notices_listing(listed.notices, texts(language))
    write_listing(listing, output_format=output_format, stream=sys.stdout)


@notices.command("test")
@click.argument("webhook")
@options.output_format
@options.language
def test_webhook(*, webhook: str, output_format: str, language: str) -> ExitCode:
    """Send a test to WEBHOOK now, once, and say what it answered.

    Exits with 1 when it did not take it.  Who asks needs the role admin.
    """
    from llmenv.catalog.texts import texts

    from llmenv_cli.render.listing import write_listing
    from llmenv_cli.render.notice_listing import test_listing

    with _client() as client:
        answer = client.test(webhook)
    listing = test_listing(webhook, answer, texts(language))
    write_listing(listing, output_format=output_format, stream=sys.stdout)
    return ExitCode.FINE if answer.is_delivered else ExitCode.NOT_READY


@notices.command(help=MUTE_HELP)
@click.option(
    "--machine", "machines", multiple=True, metavar="NAME", help="By hostname or id; may be repeated."
)
@click.option("--check", default="", metavar="NAME", help="Of this check, by its file name.")
@click.option("--kind", type=click.Choice(KINDS), help="Of this kind.")
@click.option("--reason", default="", metavar="TEXT", help="Why nobody needs to be told.")
@click.option(
    "--for",
    "lasting",
    callback=options.length_of_time,
    metavar="TIME",
    help="From now until it ends: 2h, 3d, 2w.",
)
@click.option("--until", metavar="TIME", help="Until when: 2026-12-24 or 2026-12-24T18:00Z; a date is UTC.")
@options.output_format
@options.language
def mute(
    *,
    machines: tuple[str, ...],
    check: str,
    kind: str | None,
    reason: str,
    lasting: dt.timedelta | None,
    until: str | None,
    output_format: str,
    language: str,
) -> None:
    from llmenv.fleet.v1 import notice_service_pb2

    from llmenv_cli.errors import UsageError

    if not (machines or check or kind):
        raise UsageError("Say what is muted: give --machine, --check or --kind.")
    if not reason.strip() or (lasting is None) == (until is None):
        raise UsageError("A mute says why and until when: give --reason, and either --for or --until.")
    seconds = lasting.total_seconds() if lasting else seconds_until(until or "", now=dt.datetime.now(dt.UTC))
    request = notice_service_pb2.MuteNoticesRequest(
        machines=machines, check_name=check, kind=kind or "", reason=reason, expires_in_seconds=seconds
    )
    with _client() as client:
        muted = client.mute(request)
    _print([muted], output_format=output_format, language=language)


@notices.command()
@click.argument("mute_id", metavar="MUTE")
@options.output_format
@options.language
def unmute(*, mute_id: str, output_format: str, language: str) -> None:
    """End a mute before its time: what waits for it is told if it still holds.

    MUTE is its id or the beginning of it.  Who asks needs the role admin.
    """
    with _client() as client:
        muted = client.unmute(mute_id)
    _print([muted], output_format=output_format, language=language)


@notices.command()
@limit_option
@options.output_format
@options.language
def mutes(*, limit: int, output_format: str, language: str) -> None:
    """List all mutes that there ever were, newest first."""
    with _client() as client:
        listed = client.mutes(limit=limit)
    if listed.total > len(listed.mutes):
        _say("shown", language, shown=len(listed.mutes), total=listed.total)
    _print(list(listed.mutes), output_format=output_format, language=language)


def seconds_until(text: str, *, now: dt.datetime) -> float:
    """Raises UsageError for what is no time, or is over."""
    from llmenv_cli.errors import UsageError

    try:
        moment = dt.datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"--until: {text!r} is no date such as 2026-12-24 or 2026-12-24T18:00Z.") from None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=dt.UTC)
    if moment <= now:
        raise UsageError(f"--until: {text} is over.")
    return (moment - now).total_seconds()


def _print(muted: list[Mute], *, output_format: str, language: str) -> None:
    from llmenv.catalog.texts import texts

    from llmenv_cli.render.listing import write_listing
    from llmenv_cli.render.notice_listing import mutes_listing

    write_listing(mutes_listing(muted, texts(language)), output_format=output_format, stream=sys.stdout)


def _say(key: str, language: str, **values: object) -> None:
    from llmenv.catalog.texts import texts
    from llmenv.harmless import harmless

    click.echo(harmless(texts(language).say(f"notices.{key}", **values)), err=True)


def _client() -> NoticeClient:
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.notice_client import NoticeClient

    return NoticeClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds)
