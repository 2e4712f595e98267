"""How llmenv ends, as numbers that scripts may rely on."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Every code that llmenv exits with."""

    FINE = 0
    """Done; for `check`, `fleet run` and `fleet watch`: every check that was asked for ended well.
    For `fleet report`: nothing is wrong, worse or unsaid; for `fleet upgrade-check`: safe."""
    NOT_READY = 1
    """`check` ran, and a check did not end well; `fleet run` and `fleet watch`: or a command was not done.
    `fleet report`: an environment is not ready because of a core check, or a check fails, errs, times out or
    crashes, without a valid acknowledgement; or an effect of a version, an outlier or a confirmed change
    is judged worse. `fleet compare`: the candidate is worse in something; `fleet upgrade-check`: no;
    `fleet notices test`: the webhook did not take it."""
    USAGE = 2
    """A flag, a name, a file, a statement or the settings are wrong; `import`: rows are, and nothing was
    imported."""
    UNREACHABLE = 3
    """No collector answered, or it could not answer now."""
    PARTIAL = 4
    """What was printed is not all there is; stderr says what is missing. `fleet report`, where 1 does
    not apply: a machine is silent or overdue, a limit cut a section, or changes were asked for and
    never analysed yet.
    `fleet compare`: nothing of the two could be compared; `fleet upgrade-check`: not enough evidence.
    `import --skip-bad`: rows were left out."""
    REFUSED = 5
    """The collector knows no such token, or the token has no right to this."""
    NOT_INSTALLED = 6
    """A part of llmenv or a package it needs is not installed; the sentence names the extra."""
    AGENT_FAILED = 7
    """llmenv-agent ended without a run to show."""
    UNEXPLAINED = 8
    """`fleet delivery`: records are missing and no cause accounts for them."""
    INTERNAL = 70
    """A fault of llmenv itself (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C; `fleet run` and `fleet watch` leave off watching, and the machines go on."""
