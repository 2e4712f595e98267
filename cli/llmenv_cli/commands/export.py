"""llmenv export: the history as files."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmenv_cli import settings
from llmenv_cli.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmenv_cli.sql.views import View

HELP = """Write the history to a folder, a file for each view and month.

Months are exported whole: that of --since, that of --until and those between.  Run again with the same
folder, it writes only the months in which something changed, and goes on where it was interrupted.
manifest.json lists the files with their checksums and says what the columns mean.  Who asks needs the role
analyst.
"""
SELF_DESCRIPTION = ("views", "view_columns")


@click.command("export", help=HELP)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--since",
    required=True,
    metavar="WHEN",
    help="From the month of this on: 2026-03, 2026-03-15, 90d, or all.",
)
@click.option("--until", metavar="WHEN", help="Up to the month of this, as a whole.  [default: no end]")
@click.option("--view", "names", multiple=True, metavar="VIEW", help="Only this view.  Repeatable.")
@click.option(
    "--format",
    "output_format",
    type=click.Choice(("parquet", "csv")),
    default="parquet",
    show_default=True,
    help="Parquet keeps the types.",
)
def export(
    *, folder: Path, since: str, until: str | None, names: tuple[str, ...], output_format: str
) -> ExitCode:
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.errors import UsageError
    from llmenv_cli.export.folder import Export
    from llmenv_cli.export.manifest import Manifest, fingerprint_of, locked
    from llmenv_cli.export.months import require_sound, span_of
    from llmenv_cli.sql.answer import require_pyarrow
    from llmenv_cli.sql.views import views_of

    try:
        span = span_of(since, until, now=dt.datetime.now(dt.UTC))
    except ValueError as error:
        raise UsageError(str(error)) from error
    require_pyarrow()
    credentials = Credentials.load()
    with (
        locked(folder),
        FleetClient(credentials, timeout_seconds=settings.load().timeout_seconds) as client,
    ):
        manifest = Manifest.load(
            folder, output_format=output_format, collector=fingerprint_of(credentials.ca_pem)
        )
        views = views_of(client)
        chosen = _chosen(views, names)
        for view in views:
            require_sound(view)
        manifest.describe(views)
        work = Export(client, manifest)
        work.run(chosen, span, say=lambda text: click.echo(text, err=True))
    click.echo(
        f"{folder}: {work.rows:,} rows; {work.written:,} files written, {work.kept:,} were up to date.",
        err=True,
    )
    return ExitCode.FINE


def _chosen(views: Sequence[View], names: Sequence[str]) -> list[View]:
    from llmenv_cli.sql.views import find_view

    if names:
        return [find_view(views, name) for name in dict.fromkeys(names)]
    return [view for view in views if view.name not in SELF_DESCRIPTION]
