"""llmenv-collector machine: which machines are enrolled."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option, table
from llmenv_collector.commands.token import moment

if TYPE_CHECKING:
    from llmenv_collector.data_folder import DataFolder


@click.group("machine")
def command() -> None:
    """List and revoke machines."""


@command.command("list")
@data_option
def list_(folder: DataFolder) -> None:
    """List enrolled machines, oldest first."""
    from llmenv_collector.identity import Identity

    folder.require_initialised()
    rows = [
        (one.machine_id, one.hostname, moment(one.enrolled_at), "revoked" if one.revoked_at else "enrolled")
        for one in Identity(folder.identity).machines()
    ]
    click.echo(table(("MACHINE", "HOSTNAME", "ENROLLED", "STATE"), rows))


@command.command("revoke")
@data_option
@click.argument("machine")
def revoke(folder: DataFolder, machine: str) -> None:
    """End a machine's right to deliver, by id or hostname.

    An open stream ends at its next heartbeat.  What it delivered is kept.
    """
    from llmenv_collector.identity import Identity

    folder.require_initialised()
    revoked = Identity(folder.identity).revoke_machine(machine)
    click.echo(f"Revoked {revoked.hostname} ({revoked.machine_id}).", err=True)
