"""`llmenv-agent doctor`: every precondition of the agent's work, tried, with a remedy for what fails."""

from __future__ import annotations

import os
from pathlib import Path

import click

from llmenv_agent.commands import options
from llmenv_agent.exit_codes import ExitCode


@click.command("doctor")
@options.config_option
@options.state_dir_option
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "md"]),
    default="table",
    show_default=True,
    help="How to print: table for people, json, or md.",
)
@click.option(
    "--lang",
    type=click.Choice(["en", "zh"]),
    default="en",
    envvar="LLMENV_LANG",
    show_default=True,
    help="Language, or LLMENV_LANG.",
)
@click.option(
    "--bundle",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.tar.gz",
    help="Also write an archive for support: what was found, configuration, facts, log and last results, "
    "with secrets removed.",
)
def command(*, config: Path | None, state_dir: Path | None, form: str, lang: str, bundle: Path | None) -> int:
    """Try everything that the agent needs, and say what to do where it fails.

    Each line is pass, warn, fail or could-not-tell, by what was tried just now. Run it as the agent's user,
    in the session that the agent runs in. Exit code 1: something fails; 0: nothing does.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from llmenv_agent.doctor import report
    from llmenv_agent.doctor.examination import examine
    from llmenv_agent.doctor.finding import Verdict

    findings = list(examine(config, state_dir=state_dir))
    click.echo(report.render(findings, form=form, language=lang))
    if bundle is not None:
        from llmenv_agent.doctor.bundle import write_bundle

        write_bundle(bundle, findings, config=config, state_dir=state_dir)
        click.echo(f"Wrote {bundle}; look into it before you send it.", err=True)
    return ExitCode.NOT_READY if report.worst(findings) is Verdict.FAIL else ExitCode.DONE
