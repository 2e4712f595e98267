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
    """List, label and revoke machines."""


@command.command("list")
@data_option
def list_(folder: DataFolder) -> None:
    """List enrolled machines, oldest first."""
    from llmenv_collector import labels
    from llmenv_collector.identity import Identity

    folder.require_initialised()
    identity = Identity(folder.identity)
    labels_of = labels.of_machines(identity)
    rows = [
        (
            one.machine_id,
            one.hostname,
            moment(one.enrolled_at),
            "revoked" if one.revoked_at else "enrolled",
            labels.written(labels_of.get(one.machine_id, {})),
        )
        for one in identity.machines()
    ]
    click.echo(table(("MACHINE", "HOSTNAME", "ENROLLED", "STATE", "LABELS"), rows))


@command.command("label")
@data_option
@click.argument("machine")
@click.argument("changes", metavar="KEY=VALUE|KEY- ...", nargs=-1, required=True)
def label(folder: DataFolder, machine: str, changes: tuple[str, ...]) -> None:
    """Set labels of a machine, and take off those that end with a hyphen.

    MACHINE is an id or hostname.  Labels select machines: `llmenv fleet run --label room=b12`.
    """
    from llmenv_collector import labels
    from llmenv_collector.identity import Identity

    folder.require_initialised()
    identity = Identity(folder.identity)
    found = labels.change_labels(identity, machine, [labels.parse_change(text) for text in changes])
    now = labels.written(labels.of_machines(identity).get(found.machine_id, {}))
    click.echo(f"Labels of {found.hostname} ({found.machine_id}): {now or 'none'}.", err=True)


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
