"""Open files: each virtual Mac has a connection, and on disk the three files of its spool."""

from __future__ import annotations

import resource

from llmenv_agent.errors import UsageError

_OWN = 512
"""Of the process itself, about."""


def require(machines: int, *, on_disk: bool) -> None:
    """Raise this process's limit to what they need, and further where it may be: connections that begin
    have more than one.  Raises UsageError where it is too low.
    """
    needed = _OWN + machines * (4 if on_disk else 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    wanted = 2 * needed if hard == resource.RLIM_INFINITY else max(needed, min(hard, 2 * needed))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (ValueError, OSError):
        raise UsageError(
            f"{machines:,} machines in one process need {needed:,} open files, and this process may not "
            "have as many: raise the limit (`ulimit -Hn`), or play them in more --processes."
        ) from None
