"""llmenv login: know a collector from now on."""

from __future__ import annotations

import os
import sys

import click

from llmenv_cli import settings


@click.command()
@click.argument("collector", required=False, metavar="[HOST:PORT]")
def login(collector: str | None) -> None:
    """Log in to a collector with a token of yours.

    The token, as `llmenv-collector token create --role ROLE` prints it, carries the collector's address
    and the pin of its certificate authority.  It is read from LLMENV_TOKEN, else from stdin, else asked
    for.  HOST:PORT goes there instead of the address in the token.
    """
    from llmenv_cli import pinned_authority
    from llmenv_cli.access_token import AccessToken
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.render.sections.wording import when

    timeout = settings.load().timeout_seconds
    token = AccessToken.parse(_token_text())
    address = collector or token.address
    authority = pinned_authority.fetch(address, pin=token.pin, timeout_seconds=timeout)
    credentials = Credentials(address=address, ca_pem=authority, token=token.secret)
    with FleetClient(credentials, timeout_seconds=timeout) as client:
        person = client.who_am_i()
    file = credentials.save()
    label = f" ({person.label})" if person.label else ""
    click.echo(f"Logged in to {address} as {person.role}{label} until {when(person.expires_at)}.", err=True)
    click.echo(f"Kept in {file}.", err=True)


def _token_text() -> str:
    if token := os.environ.get("LLMENV_TOKEN"):
        return token
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True))
    return sys.stdin.readline()
