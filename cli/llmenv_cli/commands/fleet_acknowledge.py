"""llmenv fleet acknowledge: take note of a known failure, list such notes, take one back."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import options, settings

if TYPE_CHECKING:
    import datetime as dt

    from llmenv.fleet.v1.fleet_service_pb2 import AcknowledgeFindingRequest, KnownFailure

    from llmenv_cli.client import FleetClient

HELP = """Take note of a known failure: the fleet report shows it apart until the note expires.

CHECK is a check that does not pass now, by its file name.  Where it has several findings, --cause takes words
of the one that is meant, and --remedy the key of a known issue, for every cause that has it.  It holds for
every machine, also those that get it later, unless --machine names some, and for the verdicts that there are
now: a warning that becomes a failure is shown again.  --list and --withdraw stand alone.  Who asks needs the
role admin, for --list viewer.
"""


@click.command(help=HELP)
@click.argument("check", default="", metavar="[CHECK]")
@click.option("--cause", default="", metavar="TEXT", help="Words of the finding, as the report says it.")
@click.option("--remedy", default="", metavar="ID", help="Every cause with this remedy, such as KI-014.")
@click.option("--reason", default="", metavar="TEXT", help="Why it may stand.")
@click.option(
    "--for",
    "lasting",
    callback=options.length_of_time,
    metavar="TIME",
    help="From now until it counts no more: 12h, 14d, 8w.",
)
@click.option(
    "--machine",
    "machines",
    multiple=True,
    metavar="NAME",
    help="Only there, by hostname or id; may be repeated.",
)
@click.option("--list", "is_list", is_flag=True, help="List all notes, newest first.")
@click.option("--withdraw", default="", metavar="ID", help="Take this note back.")
@click.option(
    "--limit",
    type=click.IntRange(1, 1000),
    default=50,
    show_default=True,
    help="List at most this many.",
)
@options.output_format
@options.language
def acknowledge(
    *,
    check: str,
    cause: str,
    remedy: str,
    reason: str,
    lasting: dt.timedelta | None,
    machines: tuple[str, ...],
    is_list: bool,
    withdraw: str,
    limit: int,
    output_format: str,
    language: str,
) -> None:
    request = _request(
        lasting, check_name=check, cause=cause, remedy_id=remedy, reason=reason, machines=machines
    )
    _require_one(is_list=is_list, withdraw=withdraw, request=request)
    with _client() as client:
        if is_list:
            listed = client.acknowledgements(limit=limit)
            known = list(listed.known_failures)
            if listed.total > len(known):
                _say("shown", language, shown=len(known), total=listed.total)
        elif withdraw:
            known = [client.withdraw(withdraw)]
        else:
            answer = client.acknowledge(request)
            known = [answer.known_failure]
            _say("noted", language, machines=", ".join(answer.hostnames))
    _print(known, output_format=output_format, language=language)


def _request(lasting: dt.timedelta | None, **asked: object) -> AcknowledgeFindingRequest:
    from llmenv.fleet.v1 import fleet_service_pb2

    seconds = lasting.total_seconds() if lasting else 0.0
    return fleet_service_pb2.AcknowledgeFindingRequest(expires_in_seconds=seconds, **asked)  # type: ignore[arg-type]


def _require_one(*, is_list: bool, withdraw: str, request: AcknowledgeFindingRequest) -> None:
    """One of the three things, and for a note what every note has."""
    from llmenv_cli.errors import UsageError

    is_note = request.ByteSize() > 0
    if is_list + bool(withdraw) + is_note != 1:
        raise UsageError("Name a check, or give --list or --withdraw, and one of them alone.")
    if is_note and not request.check_name:
        raise UsageError("Name the check whose failure is known.")
    if is_note and not (request.reason.strip() and request.expires_in_seconds):
        raise UsageError("A note says why and until when: give --reason and --for, such as --for 14d.")


def _print(known: list[KnownFailure], *, output_format: str, language: str) -> None:
    from llmenv.catalog.texts import texts

    from llmenv_cli.render.acknowledgement_listing import acknowledgements_listing
    from llmenv_cli.render.listing import write_listing

    listing = acknowledgements_listing(known, texts(language))
    write_listing(listing, output_format=output_format, stream=sys.stdout)


def _say(key: str, language: str, **values: object) -> None:
    from llmenv.catalog.texts import texts
    from llmenv.harmless import harmless

    click.echo(harmless(texts(language).say(f"acknowledgements.{key}", **values)), err=True)


def _client() -> FleetClient:
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials

    return FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds)
