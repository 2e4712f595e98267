"""`llmenv-agent check`: run a suite here and now, without a collector, and print the run as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from llmenv_agent.commands import options
from llmenv_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    from pathlib import Path

    from llmenv.fleet.v1 import run_pb2

    from llmenv_agent.configuration import Configuration

MOST_SEED = 2**32 - 1  # numpy takes no larger one, and the contract carries 32 bits


@click.command("check")
@click.option("--suite", metavar="NAME", help="Suite to run.  [default: quick]")
@click.option("--check", "names", multiple=True, metavar="NAME", help="Run this check; may be repeated.")
@click.option(
    "--target", metavar="PYTHON", help="Interpreter, environment folder, or name of a configured target."
)
@click.option(
    "--device",
    type=click.Choice(["mps", "cuda", "cpu"]),
    help="Device to check.  [default: mps on Apple Silicon, else cpu]",
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="CHECK.PARAM=VALUE",
    help="Set a parameter; VALUE is JSON, else text.",
)
@click.option(
    "--seed",
    type=click.IntRange(0, MOST_SEED),
    default=0,
    show_default=True,
    help="Seed of every random number that a check draws.",
)
@options.checks_option
@click.option(
    "--format", type=click.Choice(["json"]), default="json", expose_value=False, help="What stdout carries."
)
@options.config_option
def command(
    *,
    suite: str | None,
    names: tuple[str, ...],
    target: str | None,
    device: str | None,
    settings: tuple[str, ...],
    seed: int,
    folders: tuple[Path, ...],
    config: Path | None,
) -> int:
    """Run checks in a training environment and print the run as JSON.

    Progress goes to stderr. Exit code 0: every check that was asked for ended well; 1: one did not (fail,
    error, timeout, crash, never ran, or a core check that was skipped); 2: a flag or a file is wrong.
    """
    from llmenv_agent.configuration import load_configuration
    from llmenv_agent.local_check import LocalCheck, run_locally, went_well

    if suite and names:
        raise click.UsageError("--suite and --check exclude each other.")
    configuration = load_configuration(config, checks_folders=folders)
    run = run_locally(
        LocalCheck(
            suite="quick" if suite is None else suite,
            names=names,
            target=target or "",
            device=device or "",
            settings=settings,
            seed=seed,
        ),
        configuration,
    )
    if run is None:
        return ExitCode.INTERRUPTED
    _keep(run, configuration)
    from google.protobuf.json_format import MessageToDict

    click.echo(json.dumps(MessageToDict(run, preserving_proto_field_name=True), indent=2, ensure_ascii=False))
    return ExitCode.DONE if went_well(run) else ExitCode.NOT_READY


def _keep(run: run_pb2.Run, configuration: Configuration) -> None:
    """So that a result can be replayed by its id; a run that cannot be kept is as good."""
    from llmenv_agent.foreground import say
    from llmenv_agent.saved_runs import save_run

    try:
        save_run(run, configuration.state_dir, checks_folders=configuration.checks_folders)
    except OSError as error:
        say(f"The run cannot be kept for replay in {configuration.state_dir}: {error.strerror}.")
