"""llmenv-collector compact: the database without free room, now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder


@click.command("compact")
@data_option
def command(folder: DataFolder) -> None:
    """Write the database anew without free room, while the collector does not serve.

    A collector that serves does it by itself when much is free, see compact_percent.
    """
    import asyncio

    from llmenv_collector.compaction.upkeep import Compaction
    from llmenv_collector.errors import StoreError
    from llmenv_collector.lake.only_a_file import require_a_file
    from llmenv_collector.storage import quarantine

    folder.require_initialised()
    require_a_file(folder)
    with folder.lock():
        store = quarantine.open_store(folder, reserve_bytes=0)
        before = folder.database.stat().st_size
        try:
            is_done = asyncio.run(Compaction(store, percent=0, least_free_bytes=0).round())
        finally:
            store.close()
    if not is_done:
        raise StoreError(f"{folder.database} was not compacted: its disk has no room for a copy.")
    click.echo(f"{before / 1e6:.1f} MB before, {folder.database.stat().st_size / 1e6:.1f} MB now.", err=True)
