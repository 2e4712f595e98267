"""`llmenv-agent enroll`: a token for an identity."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from llmenv_agent.commands import options

if TYPE_CHECKING:
    from pathlib import Path


@click.command("enroll")
@click.argument("collector", required=False, metavar="[HOST:PORT]")
@click.option(
    "--token", envvar="LLMENV_TOKEN", help="Token, or LLMENV_TOKEN; - or nothing reads it from stdin."
)
@options.state_dir_option
@options.config_option
@click.option("--replace", is_flag=True, help="Enroll anew although this machine has an identity.")
def command(
    collector: str | None, token: str | None, state_dir: Path | None, config: Path | None, *, replace: bool
) -> None:
    """Get this machine an identity from a collector.

    The token of `llmenv-collector token create` names the collector; give HOST:PORT only where this
    machine knows it by another address. The key is made here and never leaves.
    """
    from llmenv_agent.configuration import load_configuration
    from llmenv_agent.enrollment import enroll
    from llmenv_agent.errors import UsageError
    from llmenv_agent.facts import read_machine
    from llmenv_agent.identity import FILE_NAME, require_room, save_identity

    directory = load_configuration(config, state_dir=state_dir).state_dir
    if (directory / FILE_NAME).exists() and not replace:
        raise UsageError(
            f"This machine is enrolled already ({directory / FILE_NAME}); --replace enrolls it anew."
        )
    require_room(directory)
    identity = enroll(_token(token), machine=read_machine(thorough=True), address=collector or "")
    path = save_identity(directory, identity)
    click.echo(
        f"Enrolled as machine {identity.machine_id}; agents' port {', '.join(identity.agent_addresses)}; "
        f"certificate until {identity.not_after}; kept in {path}.",
        err=True,
    )


def _token(given: str | None) -> str:
    if given and given != "-":
        return given
    if not given and sys.stdin.isatty():
        entered: str = click.prompt("Token", hide_input=True, err=True)
        return entered
    return sys.stdin.readline()
