"""The environments as this agent last described them, so that a collector that lost one can have it again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from llmenv.fleet.v1 import record_pb2

if TYPE_CHECKING:
    from collections.abc import Collection

    from llmenv_agent.spool import Spool


class Described:
    """Use from any thread."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._lock = threading.Lock()
        self._newest: dict[str, record_pb2.EnvironmentSnapshot] = {}
        """By target."""

    def spool(self, target: str, snapshot: record_pb2.EnvironmentSnapshot, *, always: bool) -> None:
        """Spool the description, `always` also when it is the last one."""
        with self._lock:
            is_new = self._newest.get(target) != snapshot
            self._newest[target] = snapshot
        if is_new or always:
            self._spool.append(record_pb2.Record(environment_snapshot=snapshot))

    def hashes(self) -> list[str]:
        with self._lock:
            return sorted({snapshot.environment.environment_hash for snapshot in self._newest.values()})

    def repeat(self, hashes: Collection[str]) -> None:
        """Spool the descriptions of these once more."""
        with self._lock:
            wanted = [one for one in self._newest.values() if one.environment.environment_hash in hashes]
        for snapshot in wanted:
            self._spool.append(record_pb2.Record(environment_snapshot=snapshot))
