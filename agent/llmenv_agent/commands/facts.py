"""`llmenv-agent facts`: what the agent knows of this machine, or makes of a recording, as JSON."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

import click

from llmenv_agent.commands import options


@click.command("facts")
@click.option(
    "--from",
    "recording",
    type=(str, options.NamedFile("rb")),
    metavar="KIND FILE",
    help="Parse what a tool printed on another Mac instead, such as `--from sysctl sysctl.txt`; - is stdin.",
)
def command(recording: tuple[str, BinaryIO] | None) -> None:
    """Print the facts and conditions of this machine as JSON.

    With --from, print what is understood of a recording: no serial number, hardware
    identifier or host name gets from it into the output.
    """
    answer = _live() if recording is None else _recorded(*recording)
    click.echo(json.dumps(answer, indent=2, ensure_ascii=False))


def _live() -> dict[str, Any]:
    from llmenv_agent.facts.conditions import read_conditions
    from llmenv_agent.facts.machine import read_machine
    from llmenv_agent.facts.observed import Observed
    from llmenv_agent.facts.recording import to_json

    return to_json(Observed(machine=read_machine(thorough=True), conditions=read_conditions()))


def _recorded(kind: str, file: BinaryIO) -> dict[str, Any]:
    from llmenv_agent.facts.recording import (
        LARGEST_BYTES,
        RecordingError,
        decode_recording,
        parse_recording,
        to_json,
    )

    try:
        answers = parse_recording(kind, decode_recording(file.read(LARGEST_BYTES + 1)))
    except RecordingError as error:
        raise click.UsageError(f"Cannot use {file.name}: {error}.") from error
    return {"kind": kind, "observed": [to_json(answer) for answer in answers]}
