"""A small file of the state directory, written anew as a whole: a crash leaves the former one or the next."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from llmenv_agent.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, content: str) -> None:
    """On the disk when this returns.  Raises StateError."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as error:
        raise StateError(
            f"{path} cannot be written: {error.strerror}. The agent needs its state directory: make room"
            " there, or name another with state_dir."
        ) from error
