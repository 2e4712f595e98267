"""llmenv-collector machine: which machines are enrolled, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option, table
from llmenv_collector.commands.token import moment

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder


@click.group("machine")
def command() -> None:
    """List, approve, name, label, retire, revoke and forget machines."""


@command.command("list")
@data_option
def list_(folder: DataFolder) -> None:
    """List enrolled machines, oldest first."""
    from llmenv_collector.identity import labels
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    identity = Identity(folder.identity)
    labels_of = labels.of_machines(identity)
    rows = [
        (
            one.machine_id,
            one.hostname,
            moment(one.enrolled_at),
            one.state.value,
            labels.written(labels_of.get(one.machine_id, {})),
        )
        for one in identity.machines()
    ]
    click.echo(table(("MACHINE", "HOSTNAME", "ENROLLED", "STATE", "LABELS"), rows))


@command.command("approve")
@data_option
@click.argument("machines", metavar="[MACHINE]...", nargs=-1)
@click.option("--label", metavar="KEY=VALUE|KEY", default="", help="All that wait and have this label.")
@click.option("--all", "all_", is_flag=True, help="All that wait.")
def approve(folder: DataFolder, machines: tuple[str, ...], label: str, *, all_: bool) -> None:
    """Let machines deliver that enrolled with a token for several, or were retired.

    MACHINE is an id or hostname.  A machine that is connected begins to deliver within seconds.
    """
    from llmenv_collector.errors import UsageError
    from llmenv_collector.identity import machine_register
    from llmenv_collector.identity.identity_file import Identity

    if sum(map(bool, (machines, label, all_))) != 1:
        raise UsageError("Name the machines, or give --label or --all.")
    folder.require_initialised()
    identity = Identity(folder.identity)
    found = [identity.find_machine(one) for one in machines] or machine_register.waiting(
        identity, label=label
    )
    machine_register.approve(identity, found)
    for one in found:
        click.echo(f"Approved {machine_register.called(one)}.", err=True)


@command.command("rename")
@data_option
@click.argument("machine")
@click.argument("name")
def rename(folder: DataFolder, machine: str, name: str) -> None:
    """Call a machine NAME in reports and listings, in place of the hostname that it says."""
    from llmenv_collector.identity import machine_register
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    renamed = machine_register.rename(Identity(folder.identity), machine, name)
    click.echo(f"{machine_register.called(renamed)} is called {name} from now on.", err=True)


@command.command("retire")
@data_option
@click.argument("machine")
def retire(folder: DataFolder, machine: str) -> None:
    """End a machine's service: it delivers no more, and nobody misses it.

    What it delivered stays in reports, unlike that of a revoked one.  `machine approve` takes it back.
    """
    from llmenv_collector.identity import machine_register
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    retired = machine_register.retire(Identity(folder.identity), machine)
    click.echo(f"Retired {machine_register.called(retired)}.", err=True)


@command.command("forget")
@data_option
@click.argument("machine")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(folder: DataFolder, machine: str, *, yes: bool) -> None:
    """Remove a machine and all that it delivered, for good.

    Its id alone is kept, so that its certificate is refused.  Backups made before still hold its results,
    which are removed again when one is restored.
    """
    from llmenv_collector.identity import machine_register
    from llmenv_collector.identity.forgetting import forget_now
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    identity = Identity(folder.identity)
    found = identity.find_machine(machine)
    if not yes:
        click.confirm(
            f"Remove {machine_register.called(found)} and all that it delivered, for good?",
            abort=True,
            err=True,
        )
    machine_register.forget(identity, found.machine_id)
    forget_now(folder, found.machine_id)
    click.echo(f"Forgot {machine_register.called(found)}.", err=True)


@command.command("label")
@data_option
@click.argument("machine")
@click.argument("changes", metavar="KEY=VALUE|KEY- ...", nargs=-1, required=True)
def label(folder: DataFolder, machine: str, changes: tuple[str, ...]) -> None:
    """Set labels of a machine, and take off those that end with a hyphen.

    MACHINE is an id or hostname.  Labels select machines: `llmenv fleet run --label room=b12`.
    """
    from llmenv_collector.identity import labels
    from llmenv_collector.identity.identity_file import Identity

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

    An open stream ends within seconds.  What it delivered is kept, and left out of reports.
    """
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    revoked = Identity(folder.identity).revoke_machine(machine)
    click.echo(f"Revoked {revoked.hostname} ({revoked.machine_id}).", err=True)
