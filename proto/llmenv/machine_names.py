"""What machines of one list are called: by hostname, and where several share one by the id as well."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# An id begins with the time to the millisecond, which is 13 characters of it.
SHORT_ID = 13


def machine_names(machines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """By id, of ids and hostnames; only of those whose hostname others have too."""
    known = set(machines)
    having = Counter(hostname for _, hostname in known)
    alike = Counter((machine_id[:SHORT_ID], hostname) for machine_id, hostname in known)
    shared = [(machine_id, hostname) for machine_id, hostname in known if having[hostname] > 1]
    return {
        machine_id: f"{hostname} ({begin if alike[begin, hostname] == 1 else machine_id})"
        for machine_id, hostname in shared
        for begin in [machine_id[:SHORT_ID]]
    }
