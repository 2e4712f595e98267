"""llmenv-collector retention: what is kept for how long, and what would go."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option, table

if TYPE_CHECKING:
    from llmenv_collector.retention.standing import Standing
    from llmenv_collector.storage.data_folder import DataFolder

HEADINGS = ("WHAT", "KEPT", "REMOVED UNTIL", "REMOVED SO FAR", "OLDER NOW", "BYTES OF IT")


@click.command("retention")
@data_option
@click.option("--keep-trials", metavar="DAYSd|forever", help="Count with this instead of the setting.")
@click.option("--keep-logs", metavar="DAYSd|forever", help="Likewise.")
@click.option("--keep-refused", metavar="DAYSd|forever", help="Likewise.")
@click.option("--keep-notices", metavar="DAYSd|forever", help="Likewise.")
def command(folder: DataFolder, **flags: str | None) -> None:
    """Say what is kept for how long, and what is older now. Removes nothing.

    The collector that serves removes by itself what is older, in rounds. Bytes are those of the values,
    before compression.
    """
    from llmenv_collector import clock, settings
    from llmenv_collector.commands.backup import sound_copy
    from llmenv_collector.lake.only_a_file import require_a_file
    from llmenv_collector.retention.policies import policies_of
    from llmenv_collector.retention.standing import standing_of

    folder.require_initialised()
    require_a_file(folder)
    policies = policies_of(settings.load(folder.configuration, flags=flags))
    with sound_copy(folder) as (database, _taken_at, _is_serving):
        found = standing_of(database, policies, now=clock.now())
    click.echo(table(HEADINGS, [row(one) for one in found]))


def row(one: Standing) -> list[str]:
    is_applied = one.applied.removed_until > 0
    return [
        one.policy.removal.what,
        "for ever" if one.policy.keeps_seconds is None else f"{one.policy.keeps_seconds // 86_400} days",
        shown(one.applied.removed_until) if is_applied else "-",
        f"{one.applied.removed:,}",
        f"{one.due.rows:,}",
        f"{one.due.size:,}",
    ]


def shown(microseconds: int) -> str:
    return dt.datetime.fromtimestamp(microseconds / 1e6, dt.UTC).strftime("%Y-%m-%d %H:%MZ")
