"""llmenv-collector ca: the certificate authority, and the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option, table

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder


@click.group("ca")
def command() -> None:
    """Rotate the authority that certifies machines and this collector, without touching a machine."""


@command.command("status")
@data_option
def status(folder: DataFolder) -> None:
    """Say which authority signs, until when, and during a rotation which machines lag behind."""
    from llmenv_collector.identity import machine_register, rotation
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    authority = rotation.load(folder)
    click.echo(f"authority  {authority.pin}, until {authority.ends:%Y-%m-%d}")
    if not folder.ca_former.exists():
        return
    (former,) = authority.trusted_pins - {authority.pin}
    click.echo(
        f"former     {former}, accepted until it is retired; rotated {authority.began:%Y-%m-%d %H:%MZ}"
    )
    lagging = rotation.lagging(folder, Identity(folder.identity))
    if lagging:
        rows = [(machine_register.called(one.machine), one.why) for one in lagging]
        click.echo(table(("LAGS BEHIND", "WHY"), rows))
    else:
        click.echo("Every machine has a certificate of the new one: `llmenv-collector ca retire`.", err=True)


@command.command("rotate")
@data_option
def rotate(folder: DataFolder) -> None:
    """Make a new authority that signs from now on; the present one is accepted until it is retired.

    A collector that serves goes on with the new one at once.  Machines learn it over their stream and renew
    under it by themselves; tokens made before, and people who have logged in, go on as well.
    """
    from llmenv_collector.identity import rotation
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    made = rotation.rotate(folder, Identity(folder.identity))
    click.echo(f"The new authority is {made.pin}, until {made.ends:%Y-%m-%d}.", err=True)
    click.echo("Next, when every machine has renewed: llmenv-collector ca status", err=True)


@command.command("retire")
@data_option
@click.option("--now", "is_now", is_flag=True, help="Also where machines lag behind; these must enrol anew.")
def retire(folder: DataFolder, *, is_now: bool) -> None:
    """Accept the former authority no more.

    Refused while a machine has no certificate of the new one, or was not told of it.  People who have not
    used llmenv since the rotation log in again, with a new token.
    """
    from llmenv_collector.errors import UsageError
    from llmenv_collector.identity import machine_register, rotation
    from llmenv_collector.identity.identity_file import Identity

    folder.require_initialised()
    identity = Identity(folder.identity)
    lagging = rotation.lagging(folder, identity) if folder.ca_former.exists() else []
    if lagging and not is_now:
        first = f"{machine_register.called(lagging[0].machine)} {lagging[0].why}"
        raise UsageError(
            f"{len(lagging)} machines would be locked out, such as {first}: see `llmenv-collector ca status`,"
            " or give --now."
        )
    rotation.retire(folder, identity)
    click.echo("The former authority counts no more.", err=True)
