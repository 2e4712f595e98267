"""A spool of which a message never holds more than one run: as when each run is delivered as it ends."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING

from llmenv_agent.spool import MAX_RECORD_BYTES, Spool

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from llmenv.fleet.v1 import record_pb2

    from llmenv_agent.spool_bounds import Bounds


class RunwiseSpool(Spool):
    """Runs that were spooled before it was opened are sent as any spool sends them."""

    def __init__(self, path: Path, *, machine_id: str, bounds: Bounds) -> None:
        super().__init__(path, machine_id=machine_id, bounds=bounds)
        self._run_ends: list[int] = []

    def extend(self, records: Sequence[record_pb2.Record]) -> int:
        """One thread at a time."""
        next_sequence = self.marks().last_sequence + 1
        # Before they are there: whoever sends them looks at once.
        for sequence, record in enumerate(records, next_sequence):
            if record.HasField("run_finished"):
                self._run_ends.append(sequence)
        return super().extend(records)

    def offer_after(
        self, sequence: int, *, max_records: int = 256, max_bytes: int = MAX_RECORD_BYTES
    ) -> list[record_pb2.SpooledRecord]:
        place = bisect.bisect_right(self._run_ends, sequence)
        if place < len(self._run_ends):
            max_records = min(max_records, self._run_ends[place] - sequence)
        return super().offer_after(sequence, max_records=max_records, max_bytes=max_bytes)
