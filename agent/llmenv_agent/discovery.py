"""Finds environments below given folders: venv, uv and conda, by the marks that the tools leave."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmenv_agent.targets import (
    Target,
    environment_folder,
    environment_kind,
    environment_name,
    interpreter_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MOST_LEVELS = 5
_NEVER_ENTERED = {".git", "node_modules", "__pycache__", "site-packages", ".cache"}


def discover(folders: Iterable[Path], *, levels: int = MOST_LEVELS) -> list[Target]:
    """The environments in `folders` and up to `levels` below, each once, sorted by path.

    Links are followed, and a folder reached twice is entered once.  What cannot
    be read is passed over.  Two environments of the same name are told apart by
    their paths.
    """
    visited: set[tuple[int, int]] = set()
    found = sorted({python for folder in folders for python in _walk(folder.expanduser(), levels, visited)})
    names = [environment_name(environment_folder(python)) for python in found]
    return [
        Target(name=name if names.count(name) == 1 else str(environment_folder(python)), python=python)
        for name, python in zip(names, found, strict=True)
    ]


def _walk(folder: Path, levels: int, visited: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        status = folder.stat()
        identity = (status.st_dev, status.st_ino)
        if identity in visited:
            return
        visited.add(identity)
        python = interpreter_of(folder) if environment_kind(folder) != "system" else None
        if python is not None:
            yield python.absolute()
        below = _subfolders(folder, is_environment=python is not None)
    except OSError:
        return
    if levels > 0:
        for subfolder in below:
            yield from _walk(subfolder, levels - 1, visited)


def _subfolders(folder: Path, *, is_environment: bool) -> list[Path]:
    """An environment holds no others, but conda keeps its named ones in `envs`."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.is_dir()]
    if is_environment:
        return [folder / "envs"] if "envs" in names else []
    return [folder / name for name in sorted(names) if name not in _NEVER_ENTERED]
