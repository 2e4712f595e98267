"""llmenv login, logout and whoami: which collector is asked, and as whom."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import options, settings
from llmenv_cli.errors import RefusedError, UnreachableError, UsageError

if TYPE_CHECKING:
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.render.listing import Value


@click.command()
@click.argument("collector", required=False, metavar="[HOST:PORT]")
def login(collector: str | None) -> None:
    """Log in to a collector with a token of yours.

    The token, as `llmenv-collector token create --role ROLE` prints it, carries the collector's address
    and the pin of its certificate authority.  It is read from LLMENV_TOKEN, else from stdin, else asked
    for, never from the command line, which others can read.  It is kept in the system's keyring where there
    is one (with the extra `llmenv[keyring]`), else in a file that only you can read.  HOST:PORT goes there
    instead of the address in the token.
    """
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import credentials_file
    from llmenv_cli.render.sections.wording import when

    chosen = settings.load()
    credentials = _first_contact(_token_text(), collector, timeout_seconds=chosen.timeout_seconds)
    with FleetClient(credentials, timeout_seconds=chosen.timeout_seconds) as client:
        person = client.who_am_i()
    if person.ca_pem:
        credentials = dataclasses.replace(credentials, ca_pem=person.ca_pem)
    in_keyring = credentials.save(in_keyring=chosen.keyring != "never")
    label = f" ({person.label})" if person.label else ""
    click.echo(
        f"Logged in to {credentials.address} as {person.role}{label} until {when(person.expires_at)}.",
        err=True,
    )
    where = "the system's keyring" if in_keyring else f"{credentials_file()}, readable by you alone"
    click.echo(f"The token is kept in {where}.", err=True)


@click.command()
def logout() -> None:
    """Forget the collector and the token.

    The token itself stays good until it ends: `llmenv-collector token revoke` ends it at once, for everybody
    who has it.
    """
    from llmenv_cli.credentials import forget

    address = forget()
    click.echo(f"Logged out of {address}." if address else "Nobody was logged in.", err=True)


@click.command()
@options.output_format
@options.language
def whoami(*, output_format: str, language: str) -> None:
    """Say which collector is asked, as whom, and until when.

    It asks the collector, so it also shows whether the token still holds.
    """
    from llmenv.catalog.texts import texts

    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.render.listing import Field, Listing, Row, write_listing
    from llmenv_cli.render.sections.wording import when_in_column

    credentials, say = Credentials.load(), texts(language).say
    with FleetClient(credentials, timeout_seconds=settings.load().timeout_seconds) as client:
        person = client.who_am_i()
    values: dict[str, Value] = {
        "collector": credentials.address,
        "role": person.role,
        "label": person.label,
        "expires_at": person.expires_at.ToDatetime(dt.UTC),
        "collector_version": person.collector_version,
    }
    listing = Listing(
        fields=[Field(key=key, title=say(f"column.{key}")) for key in values],
        rows=[Row(values=values, shown={"expires_at": when_in_column(person.expires_at)})],
    )
    write_listing(listing, output_format=output_format, stream=sys.stdout)


def _first_contact(token_text: str, address: str | None, *, timeout_seconds: float) -> Credentials:
    """Credentials for the collector that the token is from, once it has shown the pinned CA."""
    from llmenv.first_contact import NoAnswerError, WrongAuthorityError, fetch_authority
    from llmenv.printed_token import PrintedToken

    from llmenv_cli.credentials import Credentials

    try:
        token = PrintedToken.parse(token_text)
        address = address or token.address
        authority = fetch_authority(address, pin=token.pin, timeout_seconds=timeout_seconds)
    except ValueError as error:
        raise UsageError(str(error)) from error
    except NoAnswerError as error:
        raise UnreachableError(str(error)) from error
    except WrongAuthorityError as error:
        raise RefusedError(str(error)) from error
    return Credentials(address=address, ca_pem=authority, token=token.secret)


def _token_text() -> str:
    if token := os.environ.get("LLMENV_TOKEN"):
        return token
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True))
    return sys.stdin.readline()
