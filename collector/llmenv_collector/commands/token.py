"""llmenv-collector token: who may enrol, and who may ask."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import click

from llmenv_collector.commands.options import data_option, table

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder


@click.group("token")
def command() -> None:
    """Create, list and revoke tokens."""


@command.command("create")
@data_option
@click.option(
    "--role",
    type=click.Choice(["viewer", "analyst", "admin"]),
    help="For a person; without it, one machine may enrol.",
)
@click.option(
    "--for",
    "machine",
    metavar="MACHINE",
    help="Id or hostname of a machine that enrols again, and goes on under its id.",
)
@click.option(
    "--ttl", metavar="TIME", help="Such as 15m, 8h or 30d.  [default: 15m to enrol, 90d for a person]"
)
@click.option("--label", default="", help="Whom or what it is for.")
@click.option(
    "--address", metavar="HOST:PORT", help="Where the collector is reached.  [default: where it serves now]"
)
@click.option(
    "--uses",
    default=1,
    show_default=True,
    type=click.IntRange(1, 10_000),
    help="How many machines may enrol with it; with more than one they wait for `machine approve`.",
)
@click.option(
    "--machine-label",
    "machine_labels",
    metavar="KEY=VALUE",
    multiple=True,
    help="Label of every machine that enrols with it; may be repeated.",
)
@click.option(
    "--count",
    default=1,
    show_default=True,
    type=click.IntRange(1, 100_000),
    help="How many to print, one a line: each lets one machine enrol.",
)
def create(*, folder: DataFolder, address: str | None, **wanted: Any) -> None:
    """Print a new token, this once.

    A token without a role lets one machine enrol.  With --for it is the machine that is named, as after a
    new installation: its history goes on.  With --uses it is for a roll-out: whoever reads it can enrol a
    machine, so these deliver only after `llmenv-collector machine approve`.
    """
    from llmenv.printed_token import PrintedToken

    from llmenv_collector import settings
    from llmenv_collector.commands.wanted_token import WantedToken
    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.identity.identity_file import Identity

    token = WantedToken(**wanted)
    token.require_sound()
    folder.require_initialised()
    where = str(settings.parse_address(address, where="--address")) if address else people_address(folder)
    pin = Authority.load(folder).pin
    for secret in token.made(Identity(folder.identity)):
        click.echo(PrintedToken(address=where, pin=pin, secret=secret))


def people_address(folder: DataFolder) -> str:
    """Where the collector serves, or would by its settings."""
    from llmenv_collector import settings

    serving = folder.read_serving()
    if serving is not None:
        return serving.people_address
    return settings.people_address(settings.load(folder.configuration, flags={}))


@command.command("list")
@data_option
def list_(folder: DataFolder) -> None:
    """List tokens and when each was last used; their secrets are kept nowhere."""
    from llmenv_collector import clock
    from llmenv_collector.identity import tokens
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    now = clock.now()
    rows = [
        (
            token.token_id,
            token.role,
            token.state(now),
            moment(token.expires_at),
            moment(token.last_used_at) if token.last_used_at else "never",
            f"{token.used} of {token.uses}" if token.role == tokens.ENROLMENT else "",
            token.label,
        )
        for token in tokens.listing(Identity(folder.identity))
    ]
    click.echo(table(("TOKEN", "ROLE", "STATE", "EXPIRES", "LAST USED", "USES", "LABEL"), rows))


@command.command("revoke")
@data_option
@click.argument("token_id")
def revoke(folder: DataFolder, token_id: str) -> None:
    """End a token by its id."""
    from llmenv_collector.identity import tokens
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    tokens.revoke(Identity(folder.identity), token_id)
    click.echo(f"Revoked token {token_id}.", err=True)


def moment(microseconds: int) -> str:
    """UTC, to the minute."""
    return dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC).strftime("%Y-%m-%d %H:%MZ")
