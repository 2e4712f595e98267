"""llmenv-collector init: a new data folder, and the first admin token."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder


@click.command("init")
@data_option
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="Name or address that machines reach it by; may be repeated.  [default: 127.0.0.1]",
)
def command(folder: DataFolder, hosts: tuple[str, ...]) -> None:
    """Make a new collector.

    Prints an admin token, this once.  With --host it will serve other machines: collector.toml in the
    folder then says so, and is yours to change.  Run again, it changes nothing but the names of the
    certificate, when --host gives new ones.
    """
    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.serving.server_certificate import ServerCertificate

    if folder.is_initialised():
        ServerCertificate(folder, Authority.load(folder)).with_names(hosts)
        click.echo(f"{folder.path} already holds a collector; nothing was lost.", err=True)
        return
    click.echo(create(folder, hosts=hosts))
    click.echo(f"Made a collector in {folder.path}. Above is its admin token for `llmenv login`.", err=True)
    click.echo(f"Next: llmenv-collector serve --data {folder.path}", err=True)


def create(folder: DataFolder, *, hosts: tuple[str, ...]) -> str:
    """The admin token.  The identity file comes last: it makes the folder count as initialised."""
    from llmenv.printed_token import PrintedToken

    from llmenv_collector import settings
    from llmenv_collector.identity import tokens
    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.identity.identity_file import Identity
    from llmenv_collector.serving.server_certificate import ServerCertificate
    from llmenv_collector.storage import migrate

    folder.create()
    connection = migrate.connect(folder.database)
    try:
        migrate.migrate(connection)
    finally:
        connection.close()
    authority = Authority.create(folder)
    ServerCertificate(folder, authority).with_names(hosts)
    if hosts:
        settings.write_serving_others(folder.configuration, host=hosts[0])
    address = settings.people_address(settings.load(folder.configuration, flags={}))
    identity = Identity.create(folder.identity)
    secret = tokens.create(identity, role="admin", seconds=tokens.ROLE_SECONDS, label="first admin")
    return str(PrintedToken(address=address, pin=authority.pin, secret=secret))
