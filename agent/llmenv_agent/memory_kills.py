"""How many processes the system has killed for memory: a count that Linux keeps and macOS does not show."""

from __future__ import annotations

from pathlib import Path


def read_memory_kills() -> int | None:
    """Since boot, in the whole system; None where there is no such count."""
    try:
        return parse_vmstat(Path("/proc/vmstat").read_text(encoding="ascii"))
    except OSError:
        return None


def parse_vmstat(text: str) -> int | None:
    """The `oom_kill` line of a /proc/vmstat text."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return None
