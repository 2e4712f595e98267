"""What a collector says that it holds of a spool, when it is asked on a new stream."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from llmenv_agent.tally import Tally


@dataclass
class Witness(Tally):
    """Hears the watermark of the first Welcome.

    A session counts itself welcome only where the digest there, which is chained over all records, is the
    spool's own.
    """

    holds: int | None = None
    _has_told: asyncio.Event = field(default_factory=asyncio.Event)

    def was_acknowledged(self, watermark: int) -> None:
        super().was_acknowledged(watermark)
        if self.holds is None:
            self.holds = watermark
        self._has_told.set()

    async def told(self) -> None:
        await self._has_told.wait()
