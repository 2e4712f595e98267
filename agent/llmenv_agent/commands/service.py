"""`llmenv-agent service`: have launchd or systemd start the agent, and start it again."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, TypeVar

import click

from llmenv_agent.commands import options

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from llmenv_agent.service.job import Domain

Command = TypeVar("Command", bound="Callable[..., object]")


def domain_option(command: Command) -> Command:
    """--user or --system; root means the machine, everybody else themselves."""
    user = click.option(
        "--user", "domain", flag_value="user", help="Of the person who runs this.  [default, but for root]"
    )
    system = click.option(
        "--system",
        "domain",
        flag_value="system",
        help="Of the machine, from its start; needs root.  [default for root]",
    )
    return user(system(command))


def run_as_option(command: Command) -> Command:
    return click.option(
        "--run-as",
        default="",
        metavar="USER",
        help="With --system: whose environments are checked, and as whom.  [default: who called sudo]",
    )(command)


@click.group("service")
def command() -> None:
    """Have launchd or systemd run the agent."""


@command.command("install")
@domain_option
@run_as_option
@options.config_option
@options.state_dir_option
def install(domain: str | None, run_as: str, config: Path | None, state_dir: Path | None) -> None:
    """Install the agent as a service and start it; a second time updates it.

    On macOS --user is a LaunchAgent and --system a LaunchDaemon; on Linux both are units of systemd. What
    could not work is refused, such as a machine that is not enrolled.
    """
    from llmenv_agent.configuration import configuration_file, load_configuration
    from llmenv_agent.service import installation, rehearsal
    from llmenv_agent.service.job import Job, account_for, carried_variables, own_python
    from llmenv_agent.service.supervisor import supervisor_of

    account = account_for(_domain(domain), run_as=run_as)
    supervisor = supervisor_of(_domain(domain), account)
    # Under sudo HOME may be root's: the files meant are those of the account.
    os.environ["HOME"] = str(account.home)
    configuration = load_configuration(config, state_dir=state_dir)
    job = Job(
        domain=_domain(domain),
        account=account,
        python=own_python(),
        config=configuration_file(config).absolute(),
        state_dir=configuration.state_dir.absolute(),
        log_folder=supervisor.log_folder,
        carried=carried_variables(),
    )
    rehearsal.require_workable(job, configuration)
    is_update = supervisor.unit_path.exists()
    state = installation.install(supervisor, job)
    for sentence in (f"{'Updated' if is_update else 'Installed'}; {state.in_words()}", *supervisor.notes()):
        click.echo(sentence, err=True)


@command.command("uninstall")
@domain_option
@click.option(
    "--purge",
    is_flag=True,
    help="Remove the state directory too: identity, spool and what was not delivered.",
)
def uninstall(domain: str | None, *, purge: bool) -> None:
    """End the service and remove what install made; say what was removed."""
    from llmenv_agent.service import installation
    from llmenv_agent.service.job import caller
    from llmenv_agent.service.supervisor import supervisor_of

    supervisor = supervisor_of(_domain(domain), caller())
    removed = installation.uninstall(supervisor, purge=purge)
    for sentence in removed or [f"There was no service at {supervisor.unit_path}."]:
        click.echo(sentence, err=True)


@command.command("status")
@domain_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How to print: text for people, JSON for programs.",
)
def status(domain: str | None, form: str) -> None:
    """Say whether the service is installed, runs, and how it last ended."""
    from llmenv_agent.service.job import caller
    from llmenv_agent.service.supervisor import supervisor_of

    state = supervisor_of(_domain(domain), caller()).read_state()
    click.echo(json.dumps(state.as_json(), indent=2) if form == "json" else state.in_words())


def _domain(asked: str | None) -> Domain:
    from llmenv_agent.service.job import Domain

    return Domain(asked or ("system" if os.geteuid() == 0 else "user"))
