"""Options that several commands share, as decorators."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import click
from llmenv import periods

from llmenv_cli import settings

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., object]")


def length_of_time(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> dt.timedelta | None:
    """Callback of an option that takes a length of time, such as 30d, 12h or 2w."""
    if value is None:
        return None
    try:
        return periods.length(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx=context, param=parameter) from error


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
