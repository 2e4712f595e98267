"""How llmenv-agent ends, as numbers."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Every code that llmenv-agent exits with."""

    DONE = 0
    """Done; for `check`: every check ended well; for `replay`: the same again."""
    NOT_READY = 1
    """`check` ran, and a check did not end well; `replay` came out differently; `doctor` found what fails."""
    USAGE = 2
    """A flag, a name or a configuration file is wrong."""
    FAILED = 3
    """Something else stopped the command; the sentence on stderr says what."""
    NOT_ENROLLED = 4
    """This machine has no identity, or the collector gave it none."""
    SPOOL = 5
    """The spool cannot be read or written, or another file of the state directory not written."""
    NOT_DELIVERED = 6
    """`run --once`: records were still waiting at the deadline; they stay in the spool."""
    ALREADY_RUNNING = 7
    """Another agent already uses this state directory."""
    WATCHDOG = 8
    """`run`: the agent took too much of the machine, or hung, and ended itself to be started again."""
    INTERRUPTED = 130
    """Ctrl-C."""
