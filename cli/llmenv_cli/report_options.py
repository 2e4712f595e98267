"""Options of the commands that compare, as decorators; values are judged before anything is asked."""

from __future__ import annotations

import datetime as dt
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from llmenv import periods

from llmenv_cli import fleet_question, options, settings
from llmenv_cli.requirements_file import NAME

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmenv_cli.options import Command

REPORT_FORMATS = (*settings.FORMATS, "html", "junit", "xlsx")
LONGEST_NAME = 200


def _checked(parse: Callable[[str], Any]) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback of click: what `parse` raises as ValueError is said of the option."""

    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is None:
            return None
        try:
            return tuple(parse(one) for one in value) if isinstance(value, tuple) else parse(value)
        except ValueError as error:
            raise click.BadParameter(str(error), ctx=context, param=parameter) from error

    return callback


def _since(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> dt.timedelta | str | None:
    return "all" if value == "all" else options.length_of_time(context, parameter, value)


def _as_of(text: str) -> dt.datetime | None:
    return periods.moment(text, now=dt.datetime.now(dt.UTC))


def _release(text: str) -> str:
    return "==".join(fleet_question.release(text))


def _words(text: str) -> str:
    """Something to look for: not empty, and not longer than a name can be."""
    if not text.strip() or len(text) > LONGEST_NAME:
        raise ValueError("A name of 1 to 200 characters is needed.")
    return text.strip()


def period(command: Command) -> Command:
    """--since and --as-of."""
    since = click.option(
        "--since",
        callback=_since,
        metavar="TIME|all",
        help="Only runs of the last 30d, 12h or 2w before the end of the period, or all.  [default: 30d]",
    )
    as_of = click.option(
        "--as-of",
        callback=_checked(_as_of),
        metavar="DATE",
        help="As it was known at the end of this day, or at this time, UTC unless it says otherwise.",
    )
    return since(as_of(command))


def selection(command: Command) -> Command:
    """--where and --check."""
    where = click.option(
        "--where",
        default="",
        metavar="CONDITION",
        help="Only machines that satisfy a condition of SQL over a row of v1.machines.",
    )
    checks = click.option(
        "--check",
        "checks",
        multiple=True,
        callback=_checked(_words),
        metavar="NAME",
        help="Only this check; may be repeated.",
    )
    return where(checks(command))


def strictness(command: Command) -> Command:
    """--min-effect and --fdr."""
    effect = click.option(
        "--min-effect",
        "minimum_effect",
        callback=_checked(fleet_question.percentage),
        metavar="PERCENT",
        help="Smallest difference that matters.  [default: 3%]",
    )
    rate = click.option(
        "--fdr",
        "false_discovery_rate",
        callback=_checked(fleet_question.percentage),
        metavar="PERCENT",
        help="Of all differences called real, the share that may be noise.  [default: 5%]",
    )
    return effect(rate(command))


def comparison(command: Command) -> Command:
    """--by, --package, --baseline, --candidate, --chip and --pin."""
    for decorate in reversed(
        (
            click.option(
                "--by",
                type=click.Choice(fleet_question.AXES),
                help="Only the sections that compare along it, and the table that a csv holds.",
            ),
            click.option(
                "--package",
                default="",
                metavar="NAME",
                callback=_package,
                help="Only effects of this package, or of macos.",
            ),
            click.option(
                "--baseline",
                callback=_checked(_release),
                metavar="NAME==VERSION",
                help="Compare with this version.  [default: each with the one before it in the fleet]",
            ),
            click.option(
                "--candidate",
                callback=_checked(_release),
                metavar="NAME==VERSION",
                help="Compare this version.  [default: all others]",
            ),
            click.option(
                "--chip",
                callback=_checked(_words),
                metavar="NAME",
                help="Chip that the others are a ratio of.  [default: the one with the most machines]",
            ),
            click.option(
                "--pin",
                type=click.Path(path_type=Path),
                metavar="FILE",
                help="Requirements file with the versions that are wanted, for drift.",
            ),
        )
    ):
        command = decorate(command)
    return command


def _package(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if value and re.fullmatch(NAME, value) is None:
        raise click.BadParameter(f"{value!r} is no name of a package.", ctx=context, param=parameter)
    return value


def report_format(command: Command) -> Command:
    """--format with all that a report can be."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(REPORT_FORMATS),
        default=lambda: settings.load().format,
        show_default="format of the settings, else table",
        help="How to print: table, md or html for people, json, csv, junit or xlsx for programs.",
    )(command)


def output(command: Command) -> Command:
    """--output."""
    return click.option(
        "--output",
        "file",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write to this file instead of stdout.",
    )(command)
