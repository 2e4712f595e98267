"""llmenv-collector reports: which reports are scheduled, and when each is made next."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from llmenv_collector.commands.options import data_option, table

if TYPE_CHECKING:
    from llmenv_collector.storage.data_folder import DataFolder


@click.command("reports")
@data_option
@click.option(
    "--times", type=click.IntRange(1, 100), default=3, show_default=True, help="How many times of each."
)
def command(folder: DataFolder, *, times: int) -> None:
    """List the reports of collector.toml with the next times at which each is made, local time.

    Says of the first mistake in a [[report]] or [[webhook]] what, where and what to do.  What became of
    each time is in the view scheduled_reports.
    """
    from llmenv_collector import settings
    from llmenv_collector.notices.webhook import webhooks_of
    from llmenv_collector.scheduled.scheduled_report import moment_of, reports_of

    folder.require_initialised()
    file = folder.configuration
    webhooks = {one.name: one for one in webhooks_of(settings.read_tables(file, "webhook"))}
    rows = []
    for report in reports_of(settings.read_tables(file, "report"), webhooks):
        moment = time.time()
        for number in range(times):
            moment = report.next_after(moment)
            first = (report.name, report.when, report.format, report.target)
            rows.append((*(first if number == 0 else ("", "", "", "")), moment_of(moment)))
    if not rows:
        click.echo(f"{file} has no [[report]].", err=True)
    click.echo(table(("REPORT", "WHEN", "FORMAT", "TARGET", "NEXT"), rows))
