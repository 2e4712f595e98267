"""`llmenv-agent checks`: every check, what it asks and what it needs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from llmenv_agent.definitions import Definition


@click.command("checks")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json"]),
    default="table",
    show_default=True,
    help="How to print: a table for people, JSON for programs.",
)
def command(form: str) -> None:
    """List the checks with what each asks, needs, and may take."""
    from llmenv_agent.definitions import read_definitions

    definitions = list(read_definitions().values())
    if form == "json":
        click.echo(json.dumps([_as_json(each) for each in definitions], indent=2, ensure_ascii=False))
    else:
        click.echo(_table(definitions))


def _as_json(definition: Definition) -> dict[str, Any]:
    return {
        "name": definition.name,
        "summary": definition.summary,
        "suites": list(definition.suites),
        "requires": list(definition.requires),
        "timeout_seconds": definition.timeout_seconds,
        "parameters": dict(definition.parameters),
        "definition_hash": definition.definition_hash,
    }


def _table(definitions: list[Definition]) -> str:
    rows = [("CHECK", "SUITES", "DEADLINE", "NEEDS", "QUESTION")]
    rows += [
        (
            each.name,
            ",".join(each.suites),
            f"{each.timeout_seconds:g} s",
            ",".join(each.requires) or "-",
            each.summary,
        )
        for each in definitions
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in rows
    )
