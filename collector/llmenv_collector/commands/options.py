"""Options and output that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from llmenv.harmless import harmless_line

from llmenv_collector.storage.data_folder import DataFolder, default_path

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def to_folder(_context: click.Context, _parameter: click.Parameter, value: Path | None) -> DataFolder:
    # Processes of the collector have working directories of their own.
    return DataFolder((value or default_path()).absolute())


def data_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--data DIR, else LLMENV_DATA_DIR, else the user's data folder."""
    return click.option(
        "--data",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="LLMENV_DATA_DIR",
        show_envvar=True,
        callback=to_folder,
        help="Folder that holds everything of this collector.  [default: in the user's data folder]",
    )(command)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; what a machine says of itself cannot steer the terminal."""
    lines = [list(headings), *([harmless_line(cell) for cell in row] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(headings))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
