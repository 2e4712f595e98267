"""llmenv run: look at runs, of the collector or in a file."""

from __future__ import annotations

import datetime as dt
import sys
from typing import TYPE_CHECKING

import click

from llmenv_cli import options, settings

if TYPE_CHECKING:
    from llmenv.catalog.texts import Texts
    from llmenv.fleet.v1.fleet_service_pb2 import RunSummary

    from llmenv_cli.render.listing import Listing, Row

SHORT_ID = 13


@click.group("run")
def runs() -> None:
    """Look at runs: list those of the fleet, show one."""


@runs.command()
@click.argument("run", metavar="RUN|FILE|-")
@options.output_format
@options.language
def show(*, run: str, output_format: str, language: str) -> None:
    """Show one run as a report.

    RUN is an id of the collector or the beginning of one, FILE what `llmenv-agent check --format json`
    printed, and - the same from stdin.  Markdown is the whole report.
    """
    from llmenv_cli.run_files import looks_like_a_file, read_run
    from llmenv_cli.run_output import print_run

    if looks_like_a_file(run):
        print_run(read_run(run), output_format=output_format, language=language)
        return
    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials

    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        print_run(client.run(run), output_format=output_format, language=language)


@runs.command("list")
@click.option(
    "--machine", default="", metavar="HOSTNAME", help="Only runs of this machine, by hostname or id."
)
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most this many."
)
@options.output_format
@options.language
def list_runs(*, machine: str, limit: int, output_format: str, language: str) -> None:
    """List the runs that the collector has, newest first."""
    from llmenv.catalog.texts import texts

    from llmenv_cli.client import FleetClient
    from llmenv_cli.credentials import Credentials
    from llmenv_cli.render.listing import write_listing

    with FleetClient(Credentials.load(), timeout_seconds=settings.load().timeout_seconds) as client:
        answer = client.runs(machine=machine, limit=limit)
    listing = runs_listing(list(answer.runs), texts(language))
    write_listing(listing, output_format=output_format, stream=sys.stdout)
    if answer.total_runs > len(answer.runs):
        click.echo(f"{len(answer.runs)} of {answer.total_runs} runs; --limit shows more.", err=True)


def runs_listing(summaries: list[RunSummary], texts: Texts) -> Listing:
    """A row a run."""
    from llmenv_cli.render.listing import Field, Listing

    keys = (
        "run_id",
        "started_at",
        "ended_at",
        "hostname",
        "chip",
        "environment",
        "suite",
        "schedule_name",
        "device",
        "outcome",
        "ready",
        "statuses",
        "machine_id",
    )
    optional = {"chip", "environment", "suite", "schedule_name"}
    fields = [
        Field(
            key=key,
            title=texts.say(f"column.{key}"),
            wraps=key == "statuses",
            is_optional=key in optional,
        )
        for key in keys
    ]
    rows = [_row(summary, texts) for summary in summaries]
    hidden = {"ended_at", "outcome", "machine_id"}
    if not any(summary.schedule_name for summary in summaries):
        hidden.add("schedule_name")
    return Listing(fields=fields, rows=rows, hidden=frozenset(hidden))


def _row(summary: RunSummary, texts: Texts) -> Row:
    from llmenv.catalog.status import OUTCOME_WORDS

    from llmenv_cli.render.listing import Row
    from llmenv_cli.render.sections.wording import when_in_column

    ready = summary.readiness.is_ready
    counts = dict(sorted(summary.status_counts.items()))
    return Row(
        values={
            "run_id": summary.run_id,
            "started_at": summary.started_at.ToDatetime(dt.UTC),
            "ended_at": summary.ended_at.ToDatetime(dt.UTC) if summary.HasField("ended_at") else None,
            "hostname": summary.hostname,
            "chip": summary.chip,
            "environment": summary.environment_name,
            "device": summary.device,
            "suite": summary.suite,
            "schedule_name": summary.schedule_name,
            "outcome": OUTCOME_WORDS.get(summary.outcome, "unknown"),
            "ready": ready,
            "statuses": ", ".join(f"{word} {count}" for word, count in counts.items()),
            "machine_id": summary.machine_id,
        },
        shown={
            "run_id": summary.run_id[:SHORT_ID],
            "started_at": when_in_column(summary.started_at),
            "ready": texts.say("word.mark_yes" if ready else "word.mark_no"),
            "statuses": ", ".join(f"{texts.say(f'status.{word}')} {count}" for word, count in counts.items()),
        },
    )
