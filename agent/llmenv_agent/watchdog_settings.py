"""[watchdog] of the configuration: what the agent itself may take.

[watchdog]
memory_mib = 256       # resident; an agent at rest has about 60, one that delivers a large spool under 120
cpu_percent = 50       # of one core, on average over `cpu_window`
cpu_window = "10m"
stuck_after = "2m"     # the event loop does not answer, or a check is not ended so long after its deadline
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmenv_agent.toml_document import Document

_MOST_MIB = 1_048_576.0


@dataclass(frozen=True, kw_only=True)
class WatchdogSettings:
    """Bounds; past one of them the agent ends itself, to be started again."""

    memory_mib: float = 256.0
    cpu_percent: float = 50.0
    cpu_window_seconds: float = 600.0
    stuck_after_seconds: float = 120.0


def parse_watchdog(document: Document, content: Mapping[str, Any]) -> WatchdogSettings:
    """Raises UsageError with file and line."""
    table, default = document.table(content, "watchdog"), WatchdogSettings()
    document.allow(table, ("watchdog",), {"memory_mib", "cpu_percent", "cpu_window", "stuck_after"})

    def number(name: str, highest: float) -> float:
        return document.number(table, ("watchdog", name), default=getattr(default, name), highest=highest)

    def seconds(name: str) -> float:
        value = document.duration(table, ("watchdog", name), default=getattr(default, f"{name}_seconds"))
        if value < 1:
            raise document.error(("watchdog", name), "must be a second or more")
        return value

    return WatchdogSettings(
        memory_mib=number("memory_mib", _MOST_MIB),
        cpu_percent=number("cpu_percent", 100),
        cpu_window_seconds=seconds("cpu_window"),
        stuck_after_seconds=seconds("stuck_after"),
    )
