"""`llmenv-agent dead-letters`: records that the collector refused for good, and another try for them."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING

import click

from llmenv_agent import listing
from llmenv_agent.commands import options
from llmenv_agent.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv_agent.spool import DeadLetter, Spool

COLUMNS = ("record_id", "kind", "rejected_at", "reason")


@click.group("dead-letters")
def command() -> None:
    """Look at records that the collector refused for good, or deliver them again."""


@command.command("list")
@options.config_option
@options.state_dir_option
@click.option(
    "--format",
    "form",
    type=click.Choice(listing.FORMATS),
    default="table",
    show_default=True,
    help="How to print: a table or Markdown for people, JSON or CSV for programs.",
)
def list_letters(config: Path | None, state_dir: Path | None, form: str) -> None:
    """List them, oldest first, with the collector's reason."""
    spool = _open(config, state_dir, machine_id="")
    try:
        rows = [_row(letter) for letter in spool.dead_letters()]
    finally:
        spool.close()
    click.echo(_printed(rows, form))


@command.command("retry")
@options.config_option
@options.state_dir_option
@click.argument("record_ids", nargs=-1, metavar="[RECORD_ID]...")
def retry(config: Path | None, state_dir: Path | None, record_ids: tuple[str, ...]) -> None:
    """Deliver them again, those named or all, for a collector that accepts them now.

    They keep their ids and get new places at the end of the spool. The agent must not run meanwhile: it
    delivers them when it is started.
    """
    from llmenv_agent.configuration import load_configuration
    from llmenv_agent.daemon import only_agent
    from llmenv_agent.identity import load_identity

    directory = load_configuration(config, state_dir=state_dir).state_dir
    with only_agent(directory):
        spool = _open(config, state_dir, machine_id=load_identity(directory).machine_id)
        try:
            _require_known(spool, record_ids)
            count = spool.retry_dead_letters(record_ids)
        finally:
            spool.close()
    click.echo(f"{count} records wait for delivery again.", err=True)


def _open(config: Path | None, state_dir: Path | None, *, machine_id: str) -> Spool:
    from llmenv_agent.configuration import load_configuration
    from llmenv_agent.spool import Spool

    path = load_configuration(config, state_dir=state_dir).state_dir / "spool.db"
    if not path.exists():
        raise UsageError(f"There is no spool {path}: nothing was recorded yet.")
    return Spool(path, machine_id=machine_id)


def _require_known(spool: Spool, record_ids: tuple[str, ...]) -> None:
    known = {letter.record_id for letter in spool.dead_letters()}
    if unknown := [one for one in record_ids if one not in known]:
        raise UsageError(f"No dead letter has the id {unknown[0]!r}: see `llmenv-agent dead-letters list`.")


def _printed(rows: list[list[str]], form: str) -> str:
    if form == "json":
        return json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows], indent=2)
    if form == "table":
        return listing.as_table(COLUMNS, rows)
    return listing.as_csv(COLUMNS, rows) if form == "csv" else listing.as_markdown(COLUMNS, rows)


def _row(letter: DeadLetter) -> list[str]:
    rejected_at = dt.datetime.fromtimestamp(letter.rejected_at, dt.UTC).isoformat(timespec="seconds")
    return [letter.record_id, letter.kind, rejected_at, letter.reason]
