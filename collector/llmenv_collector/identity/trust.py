"""What agents are told of the authority, and what they say that they trust."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from llmenv_collector.identity.identity_file import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from llmenv_collector.identity.authority import Authority
    from llmenv_collector.identity.identity_file import Identity

PIN_CHARACTERS = 43
"""SHA-256 in base64url without padding."""
MOST_PINS = 8
"""Of one machine; it trusts two authorities while one is rotated."""


class Trust:
    """Of one collector."""

    def __init__(self, authority: Callable[[], Authority], identity: Identity) -> None:
        self._authority = authority
        self._identity = identity
        self._noted: dict[str, str] = {}
        self._turn = asyncio.Lock()

    def news(self, known_pins: Iterable[str]) -> str:
        """PEM of what is to be trusted, for an agent that trusts something else; else empty."""
        authority = self._authority()
        return "" if authority.trusted_pins == frozenset(known_pins) else authority.trusted_pem.decode()

    async def refused(self, machine_id: str, sentence: str) -> None:
        """A machine brought records of another one: they are rejected, and this is noted."""
        await asyncio.to_thread(self._audit, machine_id, sentence)

    def _audit(self, machine_id: str, sentence: str) -> None:
        with self._identity.changes() as connection:
            audit(connection, "records.refused", machine_id, sentence, is_refused=True)

    async def note(self, machine_id: str, pins: Iterable[str]) -> None:
        """What a machine trusts, as it says; while one transaction is made, the next one gathers."""
        known = sorted(pin for pin in set(pins) if len(pin) == PIN_CHARACTERS)[:MOST_PINS]
        self._noted[machine_id] = " ".join(known)
        async with self._turn:
            noted, self._noted = self._noted, {}
            if noted:
                await asyncio.to_thread(self._identity.note_trust, noted)
