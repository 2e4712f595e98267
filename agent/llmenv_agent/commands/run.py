"""`llmenv-agent run`: the daemon."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmenv_agent.commands import options
from llmenv_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    from llmenv_agent.configuration import Configuration


@click.command("run")
@options.config_option
@options.state_dir_option
@click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="PYTHON",
    help="Interpreter or environment to check; may be repeated.  [default: those of the configuration]",
)
@click.option("--once", is_flag=True, help="Run the schedule's suites once, deliver everything, and end.")
@click.option(
    "--deliver-within",
    default="60s",
    show_default=True,
    metavar="TIME",
    help="With --once: deadline of the delivery.",
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    help="How to log.  [default: log_format of the configuration]",
)
@click.option(
    "--log-file",
    type=click.Path(path_type=Path),
    help="Log there instead of stderr, 20 MB at most.  [default: log_file of the configuration]",
)
def command(
    *,
    config: Path | None,
    state_dir: Path | None,
    targets: tuple[str, ...],
    log_format: str | None,
    log_file: Path | None,
    deliver_within: str,
    once: bool,
) -> int:
    """Run suites when they are due and stream the results.

    With --once the exit code is 0 when everything was delivered, whatever the verdicts are, and 6 when
    records still waited at the deadline. A signal ends the agent in order: code 0, or 130 with --once.
    SIGHUP reads the configuration again. Code 8: the watchdog ended the agent, to be started again.
    """
    # gRPC's own lines tell people nothing that our log does not say better.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from llmenv import failpoints

    from llmenv_agent import daemon
    from llmenv_agent.configuration import load_configuration
    from llmenv_agent.errors import UsageError
    from llmenv_agent.identity import load_identity
    from llmenv_agent.logs import configure_logging
    from llmenv_agent.toml_document import parse_duration

    try:
        seconds = parse_duration(deliver_within)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--deliver-within") from error
    try:
        failpoints.arm()
    except ValueError as error:
        raise UsageError(str(error)) from error

    def load() -> Configuration:
        return load_configuration(config, state_dir=state_dir).with_targets(targets)

    configuration = load()
    identity = load_identity(configuration.state_dir)
    configure_logging(
        log_format or configuration.log_format,
        machine_id=identity.machine_id,
        file=log_file or configuration.log_file,
    )
    was_done = daemon.run(configuration, identity, load=load, once=once, deliver_within=seconds)
    return ExitCode.INTERRUPTED if once and not was_done else ExitCode.DONE
