"""`llmenv-agent simulate`: a fleet of virtual Macs, for load tests, demonstrations and statistics."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmenv_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    from typing import TextIO


@click.command("simulate")
@click.option("--machines", default=10, show_default=True, type=click.IntRange(1, 100_000), help="How many.")
@click.option(
    "--days",
    default=30,
    show_default=True,
    type=click.IntRange(1, 36_500),
    help="Length of the history.",
)
@click.option(
    "--runs-per-day",
    default=1.0,
    show_default=True,
    type=click.FloatRange(0, 1_440, min_open=True),
    help="Runs of each machine; 0.142857 is one a week.",
)
@click.option("--seed", default=1, show_default=True, type=int, help="The same seed plays the same fleet.")
@click.option(
    "--truth", type=click.Path(path_type=Path, dir_okay=False), help="Write what was planted there, as JSON."
)
@click.option(
    "--plain",
    is_flag=True,
    help="Plant nothing: machines are upgraded, and all that changes otherwise is noise.",
)
@click.option(
    "--tokens",
    type=click.File("r"),
    help="Tokens to enrol with, one a line, or - for stdin; as `llmenv-collector token create --count N` "
    "prints them.",
)
@click.option(
    "--state-dir",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="Where each virtual machine has a folder with its identity.",
)
@click.option(
    "--spool",
    default="memory",
    show_default=True,
    type=click.Choice(["memory", "disk"]),
    help="Where records wait; on disk a second call goes on where the first ended.",
)
@click.option(
    "--rate",
    default="fast",
    show_default=True,
    metavar="RATE",
    help="fast, or the pace of the history's clock: 1x is real time from now on, 3600x an hour a second.",
)
@click.option(
    "--deliver-within",
    default="10m",
    show_default=True,
    metavar="TIME",
    help="Deadline of what waits at the end.",
)
@click.option(
    "--format",
    "style",
    default="table",
    show_default=True,
    type=click.Choice(["table", "json"]),
    help="How to print what was measured.",
)
def command(
    *,
    machines: int,
    days: int,
    runs_per_day: float,
    seed: int,
    truth: Path | None,
    plain: bool,
    tokens: TextIO | None,
    state_dir: Path,
    spool: str,
    rate: str,
    deliver_within: str,
    style: str,
) -> int:
    """Play a fleet of virtual Macs to a collector, and say how its delivery went.

    Nothing is run: results are drawn, with noise as real Macs have it and changes that --truth names.
    Enrolment, certificates, streams and spools are the real ones. The history ends now, or begins now
    with a --rate. Exit code 6: not everything was delivered, or the ledger is not whole.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import asyncio
    import logging

    from llmenv import logs

    from llmenv_agent.simulation.delivery import Delivery
    from llmenv_agent.simulation.enrolling import enrol_machines
    from llmenv_agent.simulation.fleet import Fleet
    from llmenv_agent.simulation.pace import beginning, parse_rate
    from llmenv_agent.simulation.plan import Plan
    from llmenv_agent.toml_document import parse_duration

    try:
        seconds = parse_duration(deliver_within)
        factor = parse_rate(rate)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    logs.configure_logging("text", level=logging.ERROR)
    fleet = Fleet(
        seed=seed,
        machines=machines,
        days=days,
        runs_per_day=runs_per_day,
        plan=Plan() if plain else None,
        begins_at=beginning(factor, days=days),
    )
    lines = [line.strip() for line in tokens or () if line.strip()]
    enrolled = enrol_machines(fleet.machines, lines, state_dir)
    fleet = fleet.under_ids([each.machine for each in enrolled])
    if truth is not None:
        fleet.truth.write(truth)
    delivery = Delivery(
        fleet=fleet,
        enrolled=enrolled,
        on_disk=spool == "disk",
        rate=factor,
        deliver_within=seconds,
        on_progress=lambda words: click.echo(words, err=True),
    )
    measured = asyncio.run(delivery.play())
    click.echo(
        measured.as_json()
        if style == "json"
        else "\n".join(f"{name:<17}{figure}" for name, figure in measured.as_rows())
    )
    return ExitCode.DONE if measured.is_delivered else ExitCode.NOT_DELIVERED
