"""llmenv-collector backup: a copy to go back to."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator

    from llmenv_collector.storage.data_folder import DataFolder


@click.command("backup")
@data_option
@click.argument("destination", type=click.Path(path_type=Path))
@click.option(
    "--with-identity",
    is_flag=True,
    help="Also machines, tokens, settings and the CA's private key, in a folder that only you can read.",
)
def command(folder: DataFolder, destination: Path, *, with_identity: bool) -> None:
    """Copy the database to a new folder, also while the collector serves.

    DESTINATION is a folder that does not exist yet, or one in which a folder named by the time is
    made.  Prints the folder of the backup.  Agents are acknowledged all the while.  The copy is read back
    before it counts, and appears whole or not at all.
    """
    import importlib.metadata

    from llmenv_collector.backups import backup_folder
    from llmenv_collector.backups import history as backup_history
    from llmenv_collector.lake.only_a_file import require_a_file

    folder.require_initialised()
    require_a_file(folder)
    with sound_copy(folder) as (database, taken_at, is_serving):
        if destination.is_dir():
            destination /= taken_at.strftime("llmenv-%Y%m%dT%H%M%SZ")
        backup = backup_folder.write(
            destination,
            database=database,
            may_share=is_serving,
            taken_at=taken_at.isoformat(timespec="seconds"),
            llmenv_version=importlib.metadata.version("llmenv"),
            identity_of=folder if with_identity else None,
        )
    backup_history.note(folder, backup)
    click.echo(str(backup.path))
    contents = backup.manifest.contents
    click.echo(
        f"{contents.records} records of {len(contents.watermarks)} spools, as of {backup.manifest.taken_at}.",
        err=True,
    )
    if not with_identity:
        click.echo("Machines, tokens and the CA are not in it: --with-identity adds them.", err=True)


@contextmanager
def sound_copy(folder: DataFolder) -> Iterator[tuple[Path, dt.datetime, bool]]:
    """A file that nobody writes to, its time, and whether it is the serving collector's snapshot."""
    import contextlib
    import datetime as dt

    from llmenv_collector.errors import DataFolderError
    from llmenv_collector.serving import serving_collector
    from llmenv_collector.storage import migrate, quarantine

    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folder.lock())
        except DataFolderError:
            copy = stack.enter_context(serving_collector.snapshot(folder))
            yield copy.path, copy.taken_at, True
        else:
            quarantine.require_database(folder)
            connection = migrate.connect(folder.database)
            connection.execute("CHECKPOINT")
            connection.close()
            yield folder.database, dt.datetime.now(dt.UTC), False
