"""llmenv check: is this machine's environment fit to train on?"""

from __future__ import annotations

import click

from llmenv_cli import options, settings
from llmenv_cli.exit_codes import ExitCode


@click.command()
@click.option("--suite", metavar="NAME", help="Set of checks to run.  [default: quick]")
@click.option(
    "--check", "checks", metavar="NAME", multiple=True, help="Run this check instead; may be repeated."
)
@click.option(
    "--target",
    metavar="PYTHON",
    default=lambda: settings.load().target,
    show_default="target of the settings, else the agent's choice",
    help="Interpreter of the training environment, its folder, or the name of a configured target.",
)
@click.option(
    "--device",
    type=click.Choice(["mps", "cuda", "cpu"]),
    help="Device to check.  [default: mps on Apple Silicon, else cpu]",
)
@click.option(
    "--set",
    "parameters",
    metavar="CHECK.PARAM=VALUE",
    multiple=True,
    help="Change a parameter of a check; may be repeated.",
)
@click.option("--seed", metavar="N", help="Seed of every random number that a check draws.  [default: 0]")
@click.option(
    "--checks",
    "folders",
    metavar="FOLDER",
    multiple=True,
    help="Folder with checks of your own, one file each; may be repeated.",
)
@options.output_format
@options.language
@click.pass_context
def check(
    context: click.Context,
    *,
    suite: str | None,
    checks: tuple[str, ...],
    target: str,
    device: str | None,
    parameters: tuple[str, ...],
    seed: str | None,
    folders: tuple[str, ...],
    output_format: str,
    language: str,
) -> None:
    """Check the training environment of this machine.

    Needs no collector.  Progress goes to stderr, the report to stdout.  Exits with 0 when every check
    that was asked for ended well, and with 1 when one did not: fail, error, timeout, crash, never
    ran, or a core check that was skipped.
    """
    from llmenv_cli import agent_process
    from llmenv_cli.render.run_view import RunView
    from llmenv_cli.run_output import print_run

    single = {"--suite": suite, "--target": target, "--device": device, "--seed": seed}
    repeated = {"--check": checks, "--set": parameters, "--checks": folders}
    arguments = [
        *(word for flag, value in single.items() if value for word in (flag, value)),
        *(word for flag, values in repeated.items() for value in values for word in (flag, value)),
    ]
    run = agent_process.check(arguments)
    print_run(run, output_format=output_format, language=language)
    context.exit(ExitCode.NOT_READY if RunView(run).troubled else ExitCode.FINE)
