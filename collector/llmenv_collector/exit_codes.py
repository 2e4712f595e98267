"""What the exit code of llmenv-collector says."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Documented numbers; scripts may rely on them."""

    OK = 0
    """Done."""
    FAILED = 1
    """The request was understood and could not be carried out."""
    USAGE = 2
    """The command line, a setting or an argument is wrong."""
    DAMAGED = 3
    """There is no sound database to serve; the message has the command that restores one."""
    INTERNAL = 70
    """A fault of the program itself (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C."""
