"""`llmenv-agent simulate`: a fleet of virtual Macs, for load tests, demonstrations and statistics."""

from __future__ import annotations

import os
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, TypeVar, Unpack

import click

from llmenv_agent.commands.options import NamedFile
from llmenv_agent.exit_codes import ExitCode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TextIO

    from llmenv_agent.simulation.outages import Outage
    from llmenv_agent.simulation.play import Play
    from llmenv_agent.simulation.progress import Progress

    Decorated = TypeVar("Decorated", bound=Callable[..., object])

DAYS = 30


class Options(TypedDict):
    """As they were given."""

    machines: int
    days: int | None
    runs_per_day: float
    seed: int
    truth: Path | None
    plain: bool
    copied_runs: bool
    tokens: TextIO | None
    state_dir: Path
    spool: str
    rate: str
    duration: str | None
    outage: tuple[str, ...]
    backlog: bool
    a_run_a_message: bool
    connect_over: str
    deliver_within: str
    processes: int
    ask: bool
    style: str


HISTORY = (
    click.option(
        "--machines", default=10, show_default=True, type=click.IntRange(1, 100_000), help="How many."
    ),
    click.option(
        "--days",
        type=click.IntRange(1, 36_500),
        help=f"Length of the history.  [default: {DAYS}, or as long as --rate and --duration need]",
    ),
    click.option(
        "--runs-per-day",
        default=1.0,
        show_default=True,
        type=click.FloatRange(0, 1_440, min_open=True),
        help="Runs of each machine; 0.142857 is one a week.",
    ),
    click.option(
        "--seed", default=1, show_default=True, type=int, help="The same seed plays the same fleet."
    ),
    click.option(
        "--truth",
        type=click.Path(path_type=Path, dir_okay=False),
        help="Write what was planted there, as JSON.",
    ),
    click.option(
        "--plain",
        is_flag=True,
        help="Plant nothing: machines are upgraded, and all that changes otherwise is noise.",
    ),
    click.option(
        "--copied-runs",
        is_flag=True,
        help="Draw a few runs of each model and play copies with other ids, times and figures: cheaper. "
        "Nothing is planted, and nothing upgraded.",
    ),
)
"""What is played."""


MACHINES = (
    click.option(
        "--tokens",
        type=NamedFile("r"),
        help="Tokens to enrol with, one a line, or - for stdin, as `llmenv-collector token create "
        "--count N` prints them; one alone is of a roll-out (--uses N).",
    ),
    click.option(
        "--state-dir",
        required=True,
        type=click.Path(path_type=Path, file_okay=False),
        help="Where each virtual machine has a folder with its identity.",
    ),
    click.option(
        "--spool",
        default="memory",
        show_default=True,
        type=click.Choice(["memory", "disk"]),
        help="Where records wait; on disk a second call goes on where the first ended.",
    ),
    click.option(
        "--processes",
        default=1,
        show_default=True,
        type=click.IntRange(1, 64),
        help="Each plays a share of the machines; a core each is of use.",
    ),
)
"""Who the machines are, and where they live."""


DELIVERY = (
    click.option(
        "--rate",
        default="fast",
        show_default=True,
        metavar="RATE",
        help="fast; the pace of the history's clock, 1x being real time from now on and 3600x an hour a "
        "second; or runs of the whole fleet, such as 50/s.",
    ),
    click.option(
        "--duration",
        metavar="TIME",
        help="Spool nothing more after so much real time: 30s, 10m.  [default: to the history's end]",
    ),
    click.option(
        "--outage",
        multiple=True,
        metavar="AT:LENGTH[:SHARE]",
        help="Cut machines off: 10m:30s all of them, after ten minutes for half a minute; 10m:30s:50% "
        "half of them. May be repeated.",
    ),
    click.option(
        "--backlog",
        is_flag=True,
        help="Spool the whole history first, then connect and measure how it drains.",
    ),
    click.option(
        "--a-run-a-message",
        is_flag=True,
        help="Spool a run's records at its end, and send them as one message.",
    ),
    click.option(
        "--connect-over",
        default="0s",
        show_default=True,
        metavar="TIME",
        help="Machines connect one after the other for as long.",
    ),
    click.option(
        "--deliver-within",
        default="10m",
        show_default=True,
        metavar="TIME",
        help="Deadline of what waits at the end.",
    ),
    click.option(
        "--ask/--no-ask",
        default=True,
        show_default=True,
        help="In the end ask the collector, on a new stream of each machine, whether it has everything.",
    ),
    click.option(
        "--format",
        "style",
        default="table",
        show_default=True,
        type=click.Choice(["table", "json"]),
        help="How to print what was measured.",
    ),
)
"""How fast, how long, in which shape, and through what."""


def options_of(*groups: Sequence[Callable[[Decorated], Decorated]]) -> Callable[[Decorated], Decorated]:
    """In the order given."""

    def decorate(function: Decorated) -> Decorated:
        for option in reversed([option for group in groups for option in group]):
            function = option(function)
        return function

    return decorate


@click.command("simulate")
@options_of(HISTORY, MACHINES, DELIVERY)
def command(**options: Unpack[Options]) -> int:
    """Play a fleet of virtual Macs to a collector, and say how its delivery went.

    Nothing is run: results are drawn, with noise as real Macs have it and changes that --truth names.
    Enrolment, certificates, streams and spools are the real ones. The history ends when its play does:
    now, or at a --rate as much later as that takes. Exit code 6: not everything was delivered, or the
    ledger is not whole.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import logging

    from llmenv import logs

    from llmenv_agent.simulation.measured_delivery import measured
    from llmenv_agent.simulation.processes import play_slices

    try:
        play = _play(options)
    except ValueError as error:
        raise click.UsageError(f"{error}".removesuffix(".") + ".") from error
    logs.configure_logging("text", level=logging.ERROR)
    _enrol(play, options)
    processes = min(options["processes"], play.machines)
    found = measured(play_slices(play, processes=processes, on_progress=_tell))
    click.echo(found.as_json() if options["style"] == "json" else _table(found.as_rows()))
    return ExitCode.DONE if found.is_delivered else ExitCode.NOT_DELIVERED


def _play(options: Options) -> Play:
    """Raises ValueError."""
    from llmenv_agent.simulation.outages import parse_outage
    from llmenv_agent.simulation.pace import beginning, days_of, parse_rate
    from llmenv_agent.simulation.play import Play
    from llmenv_agent.toml_document import parse_duration

    rate = parse_rate(options["rate"], runs_per_day=options["machines"] * options["runs_per_day"])
    duration = parse_duration(options["duration"]) if options["duration"] else None
    days = options["days"] or (days_of(rate, duration) if rate and duration else DAYS)
    outages = tuple(parse_outage(each) for each in options["outage"])
    _require_sense(options, duration, outages)
    return Play(
        seed=options["seed"],
        machines=options["machines"],
        days=days,
        runs_per_day=options["runs_per_day"],
        begins_at=beginning(rate, days=days, duration=duration),
        is_plain=options["plain"],
        copies_runs=options["copied_runs"],
        state_dir=options["state_dir"],
        on_disk=options["spool"] == "disk",
        rate=rate,
        duration=duration,
        is_backlog=options["backlog"],
        a_run_a_message=options["a_run_a_message"],
        connects_over=parse_duration(options["connect_over"]),
        deliver_within=parse_duration(options["deliver_within"]),
        asks=options["ask"],
        outages=outages,
    )


def _require_sense(options: Options, duration: float | None, outages: tuple[Outage, ...]) -> None:
    """Raises ValueError."""
    if options["backlog"] and (options["rate"] != "fast" or duration is not None):
        raise ValueError("--backlog spools all before anybody connects: it takes no --rate and no --duration")
    if duration is not None and any(outage.begins_after >= duration for outage in outages):
        raise ValueError(f"--outage begins after the end by --duration {options['duration']}")


def _enrol(play: Play, options: Options) -> None:
    """All machines; then what is true of them is known by the ids that they got."""
    from llmenv_agent.simulation.enrolling import enrol_machines

    fleet = play.fleet()
    lines = [line.strip() for line in options["tokens"] or () if line.strip()]
    found = enrol_machines(fleet.machines, lines, play.state_dir)
    if options["truth"] is not None:
        fleet.under_ids([each.machine for each in found]).truth.write(options["truth"])


def _table(rows: Sequence[tuple[str, str]]) -> str:
    """As wide as the terminal, what is longer on further lines."""
    width = max(60, shutil.get_terminal_size((120, 24)).columns)
    lines = [
        textwrap.fill(f"{name:<17}{figure}", width, subsequent_indent=" " * 17, break_on_hyphens=False)
        for name, figure in rows
    ]
    return "\n".join(lines)


def _tell(progress: Progress) -> None:
    unapproved = ""
    if progress.unapproved:
        unapproved = (
            f"; {progress.unapproved:,} machines wait for approval (`llmenv-collector machine approve --all`)"
        )
    click.echo(
        f"{progress.spooled:,} records spooled, {progress.delivered:,} delivered{unapproved}", err=True
    )
