"""Options that several commands share, as decorators."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, TypeVar

import click

from llmenv_cli import settings

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., object]")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def length_of_time(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> dt.timedelta | None:
    """Callback of an option that takes a length of time, such as 30d, 12h or 2w."""
    if value is None:
        return None
    parts = re.fullmatch(r"([1-9]\d{0,4})([smhdw])", value)
    if parts is None:
        message = f"{value!r} is no length of time such as 30d, 12h or 2w."
        raise click.BadParameter(message, ctx=context, param=parameter)
    return dt.timedelta(**{UNITS[parts[2]]: int(parts[1])})


def output_format(command: Command) -> Command:
    """--format, from the settings unless given."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(settings.FORMATS),
        default=lambda: settings.load().format,
        show_default="format of the settings, else table",
        help="How to print: a table or Markdown for people, JSON or CSV for programs.",
    )(command)


def language(command: Command) -> Command:
    """--lang, from the settings unless given."""
    return click.option(
        "--lang",
        "language",
        type=click.Choice(settings.LANGUAGES),
        default=lambda: settings.load().lang,
        show_default="lang of the settings, else en",
        help="English or Chinese.",
    )(command)
