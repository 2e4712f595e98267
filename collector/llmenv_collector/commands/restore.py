"""llmenv-collector restore: back to a backup."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option

if TYPE_CHECKING:
    from llmenv_collector.backups.restoring import Restored
    from llmenv_collector.storage.data_folder import DataFolder


@click.command("restore")
@data_option
@click.argument("source", type=click.Path(path_type=Path, exists=True), required=False)
@click.option("--with-identity", is_flag=True, help="On a new machine: take machines, tokens and the CA too.")
@click.option("--empty", is_flag=True, help="Begin with an empty database instead.")
def command(folder: DataFolder, source: Path | None, *, with_identity: bool, empty: bool) -> None:
    """Put the database of a backup in place of the present one.

    SOURCE is a folder made by backup, or a database file.  The collector must not be serving.  The
    present database is set aside in the data folder, not deleted.  When the collector serves again, agents
    deliver what is missing by themselves, as far as they still hold it.  Machines, tokens and the CA stay
    as they are now.
    """
    from llmenv_collector.backups import restoring
    from llmenv_collector.backups.backup_folder import BackupFolder
    from llmenv_collector.errors import UsageError
    from llmenv_collector.lake.only_a_file import require_a_file

    require_a_file(folder)
    if empty == (source is not None):
        raise UsageError("Name the backup to restore, or --empty.")
    backup = BackupFolder.open(source) if source is not None and source.is_dir() else None
    if backup is not None:
        backup.verify()
    if with_identity:
        if backup is None:
            raise UsageError("--with-identity needs a folder made by `llmenv-collector backup`.")
        restoring.restore_identity(folder, backup)
    folder.require_initialised()
    with folder.lock():
        restored = restoring.restore(folder, backup.database if backup is not None else source)
    report(folder, restored)


def report(folder: DataFolder, restored: Restored) -> None:
    contents = restored.contents
    click.echo(f"In place: {contents.records} records of {len(contents.watermarks)} spools.", err=True)
    if restored.set_aside is not None:
        click.echo(f"The former database is {restored.set_aside}.", err=True)
        click.echo(
            "Acknowledgements, mutes, imports and commands are those of the backup, withdrawn ones too:"
            " nobody delivers them again. Schedules and labels are those of today.",
            err=True,
        )
    if restored.behind is None:
        click.echo("What came later is asked for again from every agent that connects.", err=True)
    else:
        click.echo(
            f"The former database had {restored.behind} records more: agents are asked for them again.",
            err=True,
        )
    click.echo(f"Next: llmenv-collector serve --data {folder.path}", err=True)
