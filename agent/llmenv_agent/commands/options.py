"""Options that several commands share, as decorators."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

if TYPE_CHECKING:
    from collections.abc import Callable

Command = TypeVar("Command", bound="Callable[..., object]")


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
