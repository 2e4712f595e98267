"""llmenv-collector migrate: the schema, brought forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder


@click.command("migrate")
@data_option
def command(folder: DataFolder) -> None:
    """Bring the database's schema forward.

    `serve` does the same when it starts; this is for doing it beforehand.
    """
    from llmenv_collector.lake.only_a_file import require_a_file
    from llmenv_collector.storage import migrate, quarantine

    folder.require_initialised()
    require_a_file(folder)
    with folder.lock():
        quarantine.require_database(folder)
        connection = migrate.connect(folder.database)
        try:
            applied = migrate.migrate(connection)
            version = migrate.current_version(connection)
        finally:
            connection.close()
    for migration in applied:
        click.echo(f"Applied {migration.name}.", err=True)
    click.echo(f"The schema is at {version}.", err=True)
