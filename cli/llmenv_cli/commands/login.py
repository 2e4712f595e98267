"""llmenv login: know a collector from now on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import settings
from llmenv_cli.errors import RefusedError, UnreachableError, UsageError

if TYPE_CHECKING:
    from llmenv_cli.credentials import Credentials


@click.command()
@click.argument("collector", required=False, metavar="[HOST:PORT]")
def login(collector: str | None) -> None:
    """Log in to a collector with a token of yours.

    The token, as `llmenv-collector token create --role ROLE` prints it, carries the collector's address
    and the pin of its certificate authority.  It is read from LLMENV_TOKEN, else from stdin, else asked
    for.  HOST:PORT goes there instead of the address in the token.
    """
    from llmenv_cli.client import FleetClient
    from llmenv_cli.render.sections.wording import when

    timeout = settings.load().timeout_seconds
    credentials = _first_contact(_token_text(), collector, timeout_seconds=timeout)
    with FleetClient(credentials, timeout_seconds=timeout) as client:
        person = client.who_am_i()
    file = credentials.save()
    label = f" ({person.label})" if person.label else ""
    click.echo(
        f"Logged in to {credentials.address} as {person.role}{label} until {when(person.expires_at)}.",
        err=True,
    )
    click.echo(f"Kept in {file}.", err=True)


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
