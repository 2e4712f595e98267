"""How far a simulation is, of one machine or of many."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Records spooled and delivered so far; machines that nobody has approved, counts."""

    spooled: int = 0
    delivered: int = 0
    unapproved: int = 0

    def __add__(self, other: Progress) -> Progress:
        return Progress(
            spooled=self.spooled + other.spooled,
            delivered=self.delivered + other.delivered,
            unapproved=self.unapproved + other.unapproved,
        )
