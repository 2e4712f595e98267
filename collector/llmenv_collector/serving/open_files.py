"""How many connections fit: each takes a file descriptor, and the database needs some of them at any time."""

from __future__ import annotations

import contextlib
import resource

RESERVED = 256
"""For the database, its snapshots, processes and pages."""
MOST_WANTED = 65_536
LEAST_CONNECTIONS = 64


def most_connections(*, ports: int) -> int:
    """Of one port, after this process was allowed as many files as it may be."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_WANTED if hard == resource.RLIM_INFINITY else min(hard, MOST_WANTED)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS names a limit that it does not grant.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    granted = MOST_WANTED if soft == resource.RLIM_INFINITY else min(soft, MOST_WANTED)
    return max((granted - RESERVED) // ports, LEAST_CONNECTIONS)
