"""The options by which `llmenv fleet run` and `schedule set` say what is to be run, and on which machines.

Each decorator takes its options off the command and gives it one message instead.
"""

from __future__ import annotations

import datetime as dt
import functools
from typing import TYPE_CHECKING, Any

import click

from llmenv_cli import options

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., Any]

SUITE = click.option("--suite", default="", metavar="NAME", help="Set of checks to run.")
CHECK = click.option(
    "--check", "checks", multiple=True, metavar="NAME", help="Run this check instead; may be repeated."
)
TARGET = click.option(
    "--target",
    "targets",
    multiple=True,
    metavar="NAME",
    help="Only in this target of the machine's configuration; may be repeated.  [default: all of them]",
)
DEVICE = click.option(
    "--device",
    default="",
    type=click.Choice(["", "mps", "cuda", "cpu"]),
    metavar="mps|cuda|cpu",
    help="Device to check.  [default: the machine's own]",
)
PARAMETER = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="CHECK.PARAM=VALUE",
    help="Change a parameter of a check; may be repeated.",
)
REGARDLESS = click.option(
    "--regardless-of-use", is_flag=True, help="Start although a machine is in use, on battery or hot."
)
WHERE = click.option("--where", default="", metavar="SQL", help="A condition over a row of v1.machines.")
MACHINE = click.option(
    "--machine", "machines", multiple=True, metavar="NAME", help="By hostname or id; may be repeated."
)
LABEL = click.option(
    "--label",
    "labels",
    multiple=True,
    metavar="KEY[=VALUE]",
    help="Machines with this label; may be repeated.",
)
ALL = click.option("--all", "all_machines", is_flag=True, help="All machines.")


def what_to_run(*, splay: str) -> Callable[[Command], Command]:
    """Gives `asked`, a RunChecks; `splay` is what holds where nobody says otherwise."""

    def decorated(command: Command) -> Command:
        @functools.wraps(command)
        def call(
            *,
            suite: str,
            checks: tuple[str, ...],
            targets: tuple[str, ...],
            device: str,
            settings: tuple[str, ...],
            regardless_of_use: bool,
            splay: dt.timedelta,
            **others: Any,
        ) -> Any:
            from llmenv_cli import command_request

            asked = command_request.run_checks(
                suite=suite,
                checks=checks,
                targets=targets,
                device=device,
                settings=settings,
                regardless_of_use=regardless_of_use,
                splay=splay,
            )
            return command(asked=asked, **others)

        return _with(call, SUITE, CHECK, TARGET, DEVICE, PARAMETER, REGARDLESS, _splay(splay))

    return decorated


def which_machines(command: Command) -> Command:
    """Gives `selection`, a MachineSelection."""

    @functools.wraps(command)
    def call(
        *,
        where: str,
        machines: tuple[str, ...],
        labels: tuple[str, ...],
        all_machines: bool,
        **others: Any,
    ) -> Any:
        from llmenv_cli import command_request

        selection = command_request.selection(
            machines=machines, labels=labels, where=where, all_machines=all_machines
        )
        return command(selection=selection, **others)

    return _with(call, WHERE, MACHINE, LABEL, ALL)


def _splay(default: str) -> Callable[[Command], Command]:
    return click.option(
        "--splay",
        default=default,
        show_default=True,
        callback=_length,
        metavar="TIME",
        help="Each machine starts up to this much later, by a share of its own: 0s, 30m, 2h.",
    )


def _length(context: click.Context, parameter: click.Parameter, value: str) -> dt.timedelta:
    """A length of time, or none at all."""
    if value in {"0", "0s"}:
        return dt.timedelta(0)
    return options.length_of_time(context, parameter, value) or dt.timedelta(0)


def _with(command: Command, *decorators: Callable[[Command], Command]) -> Command:
    """In the order that --help shows."""
    for decorator in reversed(decorators):
        command = decorator(command)
    return command
