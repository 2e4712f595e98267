"""Options that several commands share, as decorators."""

from __future__ import annotations

from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., object]")


class NamedFile(click.File):
    """A file to read, or - for stdin; a named pipe or a device is refused and never waited for."""

    def convert(
        self,
        value: str | os.PathLike[str] | IO[Any],
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> IO[Any]:
        if isinstance(value, str) and value != "-" and Path(value).exists():
            from llmenv.named_file import refuse_pipes

            try:
                refuse_pipes(Path(value))
            except OSError as error:
                self.fail(f"{value} cannot be read: {error.strerror}.", param, ctx)
        converted: IO[Any] = super().convert(value, param, ctx)
        return converted


def config_option(command: Command) -> Command:
    """--config PATH, else LLMENV_CONFIG, else the user's file."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        help="Configuration file.  [default: LLMENV_CONFIG, else agent.toml in the user's settings]",
    )(command)


def state_dir_option(command: Command) -> Command:
    """--state-dir PATH, else LLMENV_STATE_DIR, else what the configuration says."""
    return click.option(
        "--state-dir",
        type=click.Path(path_type=Path),
        help="Where the agent keeps its identity and spool.  "
        "[default: LLMENV_STATE_DIR, else state_dir of the configuration]",
    )(command)


def checks_option(command: Command) -> Command:
    """--checks FOLDER, beside the folders of the configuration."""
    return click.option(
        "--checks",
        "folders",
        multiple=True,
        metavar="FOLDER",
        type=click.Path(path_type=Path),
        help="Folder with checks of your own, one file each; may be repeated.",
    )(command)
