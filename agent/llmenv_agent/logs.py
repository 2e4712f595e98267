"""Where the agent's log goes: stderr, or a file of its own that it keeps small."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from typing import TYPE_CHECKING

from llmenv import logs
from llmenv.named_file import refuse_pipes

from llmenv_agent.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

STDERR_BYTES = 1_000_000


def configure_logging(form: str, *, machine_id: str, file: Path | None = None) -> None:
    """Lines name the machine. Raises UsageError where the file cannot be used."""
    try:
        if file is not None:
            with contextlib.suppress(FileNotFoundError):
                refuse_pipes(file)
        logs.configure_logging(form, fields={"machine_id": machine_id}, file=file)
    except OSError as error:
        raise UsageError(f"The log file {file} cannot be used: {error.strerror}.") from error
    if file is not None:
        _bound_stderr()


def _bound_stderr() -> None:
    """Empty the file that launchd catches stderr in, once it is large: launchd appends to it for ever."""
    with contextlib.suppress(OSError, ValueError):
        descriptor = sys.stderr.fileno()
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode) and status.st_size > STDERR_BYTES:
            os.ftruncate(descriptor, 0)
